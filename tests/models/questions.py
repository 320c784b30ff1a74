"""The questions about the model of the handshake, and the faults that must change their answers.

An attack must not exist: the prover must find that none follows from the rules. A mutant replaces rules of
`handshake.fof`; the prover must find each attack named beside it. A limit is an attack that does exist, and
that the pages name. A step is what honest nodes can do: a handshake that never ends would be safe from all.
"""

import re
from pathlib import Path

from attrs import field, frozen

Rules = dict[str, str]
"""Formulas by the name of the rule that they replace; a new name adds a rule."""


@frozen
class Question:
    """An attack, or a step: a formula that has a proof or has none."""

    meaning: str
    formula: str
    setting: Rules = field(factory=dict)
    """What else is given: keys that leaked, calls that nobody makes."""


@frozen
class Mutant:
    """A handshake with a fault."""

    fault: str
    rules: Rules
    finds: tuple[str, ...]
    """The attacks that it makes possible."""
    keeps: tuple[str, ...] = ()
    """Attacks that stay impossible: the fault is narrower than it looks."""


MODEL = (Path(__file__).parent / "handshake.fof").read_text(encoding="utf-8")
RULES: Rules = dict(
    re.findall(r"fof\((\w+), axiom, (.*?)\)\.\s*(?=fof\(|\Z)", re.sub("%.*", "", MODEL), re.DOTALL)
)
"""The formulas of the model by name, without its comments."""

STOLEN_A: Rules = {"stolen_a": "att(a)"}
STOLEN_B: Rules = {"stolen_b": "att(b)"}
A_CALLS_OTHERS: Rules = {
    "calls": "![W,Y]: ((seeks(W,Y) & (Y = pk(m) | Y = pk(a))) => calls(a,W,Y))"
    " & ![W,Y]: (seeks(W,Y) => calls(b,W,Y))",
}
B_ANSWERS_OTHERS: Rules = {"answers": "answers(b,pk(m)) & answers(b,pk(b)) & ![Z]: answers(a,Z)"}
HIDDEN_CALLS = "![W,Y]: (seeks(W,Y) => (calls(a,W,Y) & calls(b,W,Y))) & "
HIDDEN: Rules = {"calls": HIDDEN_CALLS + "calls(c,pk(b),pk(b))"}
"""Node c, whose proof nobody knows, looks for node b by its id."""

SHARED_SECRET = "dh(eph(a,W,S),g(pre(b,N)))"

STEPS = {
    "accepts": Question(
        "b accepts a FINISH of a", "?[S]: accepted(b,pk(a),g(eph(a,pk(b),S)),req(a,pk(b),pk(b),S))"
    ),
    "accepts any": Question(
        "b accepts a FINISH of a, which looked for any node",
        "?[S]: accepted(b,pk(a),g(eph(a,any,S)),req(a,any,pk(b),S))",
    ),
    "completes": Question(
        "a gets the response of b",
        "?[S]: completed(a,pk(b),g(eph(a,pk(b),S)),resp(b,pk(a),g(eph(a,pk(b),S))))",
    ),
    "receives": Question("b receives data of a", "?[E,S]: received(b,pk(a),E,data(a,pk(b),S))"),
    "calls m": Question("the attacker takes part: a calls it", "?[S]: att(req(a,pk(m),pk(m),S))"),
    "is called by m": Question("the attacker takes part: b answers it", "?[E]: att(resp(b,pk(m),E))"),
}

ATTACKS = {
    "request": Question("the request in a FINISH stays secret", "?[W,S]: att(req(a,W,pk(b),S))"),
    "response": Question("the response in an ACCEPT stays secret", "?[E]: att(resp(b,pk(a),E))"),
    "data": Question("payloads of DATA stay secret", "?[S]: att(data(a,pk(b),S))"),
    "keys": Question(
        "the keys of a session stay secret",
        f"?[W,S,N,H,A,B]: (att({SHARED_SECRET}) | att(kfin(H,{SHARED_SECRET}))"
        f" | att(kir(H,{SHARED_SECRET},A,B)) | att(kri(H,{SHARED_SECRET},A,B)))",
    ),
    "later": Question(
        "forward secrecy: all of that stays secret when the nodes' own keys become known later",
        f"?[W,S,N,E]: (late({SHARED_SECRET}) | late(req(a,W,pk(b),S)) | late(resp(b,pk(a),E))"
        " | late(data(a,pk(b),S)))",
    ),
    "later with a prekey": Question(
        "a pre-key that is stolen later opens only sessions that began with it",
        "?[W,S]: late(dh(eph(a,W,S),g(pre(b,n1))))",
        {"stolen_later": "late(pre(b,n0))"},
    ),
    "caller": Question(
        "b accepts a FINISH of a only if a looked for b, or for any node, and went on with b",
        "?[E,Q]: accepted(b,pk(a),E,Q)",
        A_CALLS_OTHERS,
    ),
    "handshake": Question(
        "when b accepts a FINISH of a, E and the request in it are of one handshake that a began, with b",
        "?[E,Q,W,V,Y,D,S]: ((accepted(b,pk(a),E,Q) & att(Q)) | (accepted(b,pk(a),g(D),Q) & att(D))"
        " | accepted(b,pk(a),g(eph(a,W,s1)),req(a,V,Y,s2)) | accepted(b,pk(a),g(eph(a,W,S)),req(a,V,pk(m),S))"
        " | accepted(b,pk(a),g(eph(b,W,S)),Q))",
    ),
    "responder": Question(
        "a takes an ACCEPT for one of b only if b accepted a FINISH of a",
        "?[E,Q]: completed(a,pk(b),E,Q)",
        B_ANSWERS_OTHERS,
    ),
    "response of": Question(
        "a response that a takes is the one to this handshake",
        "?[E,Q,W,V]: ((completed(a,pk(b),E,Q) & att(Q))"
        " | completed(a,pk(b),g(eph(a,W,s1)),resp(b,pk(a),g(eph(a,V,s2))))"
        " | completed(a,pk(b),g(eph(a,W,s1)),resp(b,pk(m),g(eph(a,V,s1)))))",
    ),
    "data of": Question(
        "data that b receives from a were sent by a, under the same keys",
        "?[E,D,W]: ((received(b,pk(a),E,D) & att(D)) | received(b,pk(a),g(eph(a,W,s1)),data(a,pk(b),s2)))",
    ),
    "caller, b stolen": Question(
        "key compromise: who has b's key cannot call b in the name of a",
        "?[E,Q]: accepted(b,pk(a),E,Q)",
        A_CALLS_OTHERS | STOLEN_B,
    ),
    "responder, a stolen": Question(
        "key compromise: who has a's key cannot answer a in the name of b",
        "?[E,Q]: completed(a,pk(b),E,Q)",
        B_ANSWERS_OTHERS | STOLEN_A,
    ),
    "request, a stolen": Question(
        "key compromise: who has a's key learns nothing that a sends to b",
        f"?[W,S,N]: (att(req(a,W,pk(b),S)) | att(data(a,pk(b),S)) | att({SHARED_SECRET}))",
        STOLEN_A,
    ),
    "identity": Question(
        "a node that looks for b by its id shows its proof to b alone, also when b's key becomes known later",
        "att(pk(c)) | late(pk(c))",
        HIDDEN,
    ),
}

LIMITS = {
    "any node": Question(
        "a node that looks for any node at an address shows its proof to whoever answers",
        "att(pk(c))",
        {"calls": HIDDEN_CALLS + "![Y]: calls(c,any,Y)"},
    ),
    "prekey": Question(
        "who has a pre-key of b can answer in the name of b",
        "?[E,Q]: completed(a,pk(b),E,Q)",
        B_ANSWERS_OTHERS | {"stolen": "att(pre(b,n0))"},
    ),
    "prekey later": Question(
        "who gets a pre-key of b later can read what was sealed with it",
        "?[W,S]: late(req(a,W,pk(b),S))",
        {"stolen": "late(pre(b,n0))"},
    ),
    "own key": Question(
        "who has b's own key can sign a pre-key of its own and answer in the name of b",
        "?[S]: att(req(a,pk(b),pk(b),S))",
        STOLEN_B,
    ),
    "responder shown": Question("everybody learns the proof of a node that answers HELLOs", "att(pk(b))"),
}


def _replaced(names: str, old: str, new: str) -> Rules:
    """Return these rules of the model with one text replaced; each must contain it."""
    changed = {}
    for name in names.split():
        assert old in RULES[name], (name, old)
        changed[name] = RULES[name].replace(old, new)
    return changed


def _without_responder() -> Rules:
    """Return the rules where nothing that is signed or sealed names the responder, in h or in the keys."""
    changed = {}
    for name, responder in {
        "finish": "pk(Y)",
        "data": "pk(Y)",
        "accept": "pk(R)",
        "received": "pk(R)",
    }.items():
        rule = RULES[name].replace(f",C,{responder},", ",C,left_out,")
        changed[name] = rule.replace(f", {responder}), ", ", left_out), ")
        assert changed[name] != RULES[name]
    return changed


def _mac_of_static_keys() -> Rules:
    """Return the rules where the initiator proves itself by a MAC under both nodes' own keys."""
    changed = {"own_keys_public": "att(g(a)) & att(g(b))"}
    changed |= {"mac": "![D,H]: (att(D) => att(mac(D,H)))"}
    changed |= _replaced("finish", "sign(X,hs(", "mac(dh(X,g(Y)),hs(")
    return changed | _replaced("accept received", "sign(Z,hs(", "mac(dh(R,g(Z)),hs(")


def _accept_without_signature() -> Rules:
    """Return the rules where no pre-key is signed; a MAC in the ACCEPT proves the responder instead."""
    changed = _replaced("finish data", " & att(sign(Y,prekey(P,T)))", "")
    changed |= {"own_keys_public": "att(g(a)) & att(g(b))"}
    changed |= {"mac": "![D,H]: (att(D) => att(mac(D,H)))"}
    changed |= {"mac_text": "![M,Q]: ((att(M) & att(Q)) <=> att(proved(M,Q)))"}
    h = "t(g(eph(X,W,S)),W,C,pk(Y),P,T)"
    changed["data"] = changed["data"].replace("acc(Q)", f"acc(proved(mac(dh(X,g(Y)),{h}),Q))")
    h = "t(E,W,C,pk(R),g(pre(R,N)),T)"
    response = "resp(R,pk(Z),E)"
    return changed | _replaced("accept", f"acc({response})", f"acc(proved(mac(dh(R,g(Z)),{h}),{response}))")


MUTANTS = (
    Mutant(
        "the initiator does not check the signature of the pre-key",
        _replaced("finish data", " & att(sign(Y,prekey(P,T)))", ""),
        (
            "request",
            "data",
            "responder",
            "response of",
            "identity",
            "request, a stolen",
            "responder, a stolen",
        ),
    ),
    Mutant(
        "the initiator does not compare the node that answers with the node that it looks for",
        {"calls_all": "![Y]: calls(c,pk(b),Y)"},
        ("identity",),
    ),
    Mutant(
        "the node's own key serves as pre-key for ever",
        {name: RULES[name].replace("pre(R,N)", "R") for name in ("challenge", "accept", "received")},
        ("later",),
        keeps=("request", "response", "data"),
    ),
    Mutant(
        "one pre-key can be computed from another",
        {"derived": "![R,N,O]: (late(pre(R,N)) => late(pre(R,O)))"},
        ("later with a prekey",),
        keeps=("later",),
    ),
    Mutant(
        "the private part of E can be computed from the node's own key",
        {"derived": "![X,W,S]: ((att(X) => att(eph(X,W,S))) & (late(X) => late(eph(X,W,S))))"},
        ("later", "request, a stolen"),
        keeps=("request", "keys"),
    ),
    Mutant(
        "the private part of E can be guessed",
        {"guessed": "![X,W,S]: att(eph(X,W,S))"},
        ("keys", "request", "identity"),
    ),
    Mutant(
        "the responder does not check the signature of the initiator",
        {
            name: "![V]: " + rule
            for name, rule in _replaced(
                "accept received", "sign(Z,hs(t(E,W,C,pk(R),g(pre(R,N)),T),pk(Z)))", "V"
            ).items()
        },
        ("caller", "caller, b stolen", "handshake", "response", "data of"),
    ),
    Mutant(
        "the initiator signs its proof alone, not h",
        _replaced("finish", "hs(t(g(eph(X,W,S)),W,C,pk(Y),P,T),", "hs(left_out,")
        | _replaced("accept received", "hs(t(E,W,C,pk(R),g(pre(R,N)),T),", "hs(left_out,"),
        ("caller", "handshake", "response"),
    ),
    Mutant(
        "the proof of the responder is left out of h and of the keys",
        _without_responder(),
        ("caller",),
    ),
    Mutant(
        "a MAC under the two nodes' own keys in place of the initiator's signature",
        _mac_of_static_keys(),
        ("caller, b stolen",),
        keeps=("caller",),
    ),
    Mutant(
        "a MAC under the two nodes' own keys in place of the responder's signature",
        _accept_without_signature(),
        ("responder, a stolen",),
        keeps=("responder",),
    ),
    Mutant("k_fin follows from h alone", {"public": "![H,D]: att(kfin(H,D))"}, ("identity", "request")),
    Mutant(
        "the cipher has no tag",
        {
            "swap_request": "![K,N,A,S,Q,O]: ((att(aead(K,N,fin(A,S,Q))) & att(O))"
            " => att(aead(K,N,fin(A,S,O))))",
            "swap_response": "![K,N,Q,O]: ((att(aead(K,N,acc(Q))) & att(O)) => att(aead(K,N,acc(O))))",
            "swap_data": "![K,N,X,Y,S,O]: ((att(aead(K,N,data(X,Y,S))) & att(O)) => att(aead(K,N,O)))",
        },
        ("handshake", "response of", "data of"),
    ),
)
