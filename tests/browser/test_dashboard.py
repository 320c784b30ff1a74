import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.browser.chromium import Browser, DashboardNode, browser, missing, start_node
from tests.process.nodes import Network, eventually

PHONE = 380
SCHEMES = ("data", "about", "chrome")
"""Of addresses for which nothing is asked over the network."""


class BrowserCase(SynchronousTestCase):
    """A network of four nodes, and a browser."""

    browser: Browser

    def setUp(self) -> None:
        if reason := missing():
            raise SkipTest(reason)
        network = Network(Path(self.mktemp()).absolute())
        self.addCleanup(network.stop)
        first = network.bootstrap_node()
        self.shown: DashboardNode = start_node(network, first)
        self.others = [network.node(seeds=(first,)) for _ in range(2)]
        for node in (self.shown.node, *self.others):
            node.wait_for("Joined")
        window = browser()
        self.browser = window.__enter__()
        self.addCleanup(window.__exit__, None, None, None)

    def open(self, width: int = 1280, token: bool = True) -> None:
        self.browser.open(self.shown.link if token else self.shown.url, width)
        self.browser.wait_for_text("#badge", "well")
        eventually(lambda: len(self.browser.all("#peers tbody tr")) == 3, "three contacts")

    def act(self, action: str, key: str, value: str = "") -> None:
        self.browser.fill("#key", key)
        self.browser.fill("#value", value)
        self.browser.click(f"button[value={action}]")


class UseTests(BrowserCase):
    """What an operator does with the page."""

    def test_use(self) -> None:
        """The page shows the state, puts, gets, traces and locates; it stays within its own origin and its
        policy, and the console within silence."""
        page = self.browser
        self.open()
        self.assertEqual(page.text("#advice"), "All is well.")
        self.assertEqual(len(page.all("#space .ok, #space .router, #space .slow")), 3)
        self.act("put", "greeting", "hello, all")
        self.assertIn("nodes", page.wait_for_text("#result", "Stored on"))
        self.assertEqual((page.text("#kept"), page.text("#kept-note")), ("0", "none on the list"))
        self.assertEqual(page.text("#watches"), "0")
        self.act("get", "greeting")
        page.wait_for_text("#result pre", "hello, all")
        self.act("trace", "greeting")
        page.wait_for_text("#result", "found after")
        self.assertEqual(len(page.all("#result tbody tr .bar span")), len(page.all("#result tbody tr")))
        page.wait_for_text("#lookups", "FindValue")
        self.act("locate", "greeting")
        page.wait_for_text("#result", "holds")
        eventually(lambda: page.text("#rate") != "–", "the rates")
        self.assertEqual(page.console(), [])
        asked = {urlsplit(url) for url in page.requested()}
        origins = {f"{url.scheme}://{url.netloc}/" for url in asked if url.scheme not in SCHEMES}
        self.assertEqual(origins, {self.shown.url})
        self.assertNotIn("token", page.run("return location.href"))

    def test_errors(self) -> None:
        """What goes wrong is said in the page, with what to do."""
        page = self.browser
        self.open()
        self.act("get", "nothing")
        page.wait_for_text("#result .error", "404")
        self.act("put", "greeting")
        page.wait_for_text("#result .error", "400")

    def test_token(self) -> None:
        """Without a token state and contacts are shown; a wrong one is refused, the right one is enough."""
        page = self.browser
        self.open(token=False)
        eventually(lambda: page.find("#token-form").is_displayed(), "the question for the token")
        page.fill("#token", "wrong")
        page.click("#token-form button")
        page.wait_for_text("#token-error", "does not accept")
        page.fill("#token", self.shown.token)
        page.click("#token-form button")
        eventually(lambda: not page.find("#token-form").is_displayed(), "the end of the question")
        self.act("put", "greeting", "hello, all")
        page.wait_for_text("#result", "Stored on")

    def test_lost(self) -> None:
        """A node that is gone is said to be gone; when it is back, the page goes on."""
        page = self.browser
        self.open()
        self.shown.node.kill()
        page.wait_for_text("#badge", "no connection")
        self.shown.node.start()
        page.wait_for_text("#badge", "well")

    def test_silent_contacts(self) -> None:
        """A contact that has died is marked in the key space and in the table."""
        page = self.browser
        self.open()
        self.others[0].kill()
        eventually(lambda: page.all("#space .bad"), "the mark of the dead contact")
        page.wait_for_text("#contacts-note", "1 silent")
        self.assertEqual(len(page.all("#peers td.trouble")), 1)


class LayoutTests(BrowserCase):
    """How the page looks, and how it is used without a mouse."""

    def test_narrow(self) -> None:
        """On a phone nothing is wider than the screen, before and after a trace."""
        self.open(PHONE)
        self.act("put", "greeting", "hello, all")
        self.browser.wait_for_text("#result", "Stored on")
        self.act("trace", "greeting")
        self.browser.wait_for_text("#result", "found after")
        self.assertEqual(self.browser.run("return document.documentElement.scrollWidth"), PHONE)
        table = self.browser.run(
            "const s = document.querySelector('#peers').parentElement; return [s.scrollWidth, s.clientWidth]"
        )
        self.assertEqual(table[0], table[1])

    def test_keyboard(self) -> None:
        """Everything that can be used is reached by the tab key, in order, and shows its focus."""
        self.open()
        visited = []
        for _ in range(20):
            self.browser.press_tab()
            name, outline = self.browser.run(
                "const e = document.activeElement, s = getComputedStyle(e);"
                "return [e.id || e.value || e.dataset.sort || e.className || e.textContent,"
                " s.outlineStyle + ' ' + s.outlineWidth]"
            )
            visited.append(name)
            self.assertEqual(outline, "solid 3px", name)
            if name == "readiness":
                break
        self.assertEqual(
            " ".join(visited),
            "skip key value get put trace locate scroll node_id host shared_bits rtt last_seen failures "
            "holds_values Metrics OpenAPI readiness",
        )

    def test_names(self) -> None:
        """Every field has a label, every picture a name; screen readers announce the state."""
        self.open()
        for field in self.browser.all("input"):
            label = self.browser.all(f"label[for={field.get_attribute('id')}]")
            self.assertEqual(len(label), 1)
        for picture in self.browser.all("svg[role=img]"):
            self.assertTrue(picture.get_attribute("aria-label") or picture.get_attribute("aria-labelledby"))
        self.assertEqual(self.browser.find("#state").get_attribute("role"), "status")

    def test_contrast(self) -> None:
        """Text stands out from its ground by 4.5 to 1 at least, by day and by night."""
        self.open()
        for scheme in ("light", "dark"):
            self.browser.prefer(color_scheme=scheme)
            for low in self.browser.run(CONTRASTS):
                self.assertGreaterEqual(low[1], 4.5, (scheme, low))

    def test_still(self) -> None:
        """Who wants less motion gets no lines that move; the lookups are listed all the same."""
        self.browser.prefer(reduced_motion="reduce")
        self.open()
        self.act("get", "nothing")
        self.browser.wait_for_text("#lookups", "FindValue")
        self.assertEqual(self.browser.all(".hop"), [])


CONTRASTS = """
const light = (c) => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number).map((v) => v / 255)
  .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const ground = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
  if (c !== 'rgba(0, 0, 0, 0)') return c; } return 'rgb(255, 255, 255)'; };
return [...document.querySelectorAll('h1, h2, h3, p, td, th button, label, button, a, li, code')]
  .filter((e) => e.offsetParent && e.textContent.trim())
  .map((e) => { const a = light(getComputedStyle(e).color), b = light(ground(e));
    return [e.tagName + ' ' + e.className + ' ' + e.textContent.trim().slice(0, 20),
      (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)]; });
"""


class PolicyTests(BrowserCase):
    def test_policy(self) -> None:
        """The policy that the page is served with forbids inline scripts: one that got in would not run."""
        with urllib.request.urlopen(self.shown.url) as answer:
            policy = answer.headers["Content-Security-Policy"]
        self.assertNotIn("unsafe", policy)
        self.open()
        self.browser.run(
            "const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
            "document.body.append(s)"
        )
        self.assertIsNone(self.browser.run("return window.ran"))
        self.assertIn("Content Security Policy", self.browser.console()[0])
