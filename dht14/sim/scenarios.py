"""The named scenarios: each is a promise of DHT-14, under its conditions."""

from dht14.kademlia.parameters import MAX_VALUE
from dht14.sim import attacks, host_scripts, network_scripts
from dht14.sim.clients import FaultPlan, history
from dht14.sim.conditions import Conditions
from dht14.sim.scenario import Scenario

SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "loss-5",
            "5 % of the datagrams are lost: 99.99 % of gets right",
            network_scripts.loss(0.9999),
            nodes=200,
            values=1_000,
            conditions=Conditions.worldwide(loss=0.05),
        ),
        Scenario(
            "loss-20",
            "20 % of the datagrams are lost: 99.9 % of gets right",
            network_scripts.loss(0.999),
            nodes=200,
            values=1_000,
            conditions=Conditions.worldwide(loss=0.2),
        ),
        Scenario(
            "sealed",
            "5 % of encrypted datagrams are lost: 99.99 % of gets right",
            network_scripts.loss(0.9999),
            nodes=100,
            values=500,
            conditions=Conditions.worldwide(loss=0.05),
            sealed=True,
        ),
        Scenario(
            "large",
            "values of up to 65,495 bytes, 5 % loss: 99.99 % of gets right",
            network_scripts.loss(0.9999),
            nodes=100,
            values=300,
            value_bytes=MAX_VALUE,
            conditions=Conditions.worldwide(loss=0.05),
        ),
        Scenario(
            "deaths",
            "30 % of the nodes are killed at once: 99.9 % of gets right in the next minute",
            network_scripts.deaths,
            nodes=200,
            values=1_000,
        ),
        Scenario(
            "holders",
            "all holders of each value but one are killed at once: no value is lost, 8 copies in 10 min",
            network_scripts.holders,
            nodes=1_000,
            values=10_000,
            value_bytes=50,
        ),
        Scenario(
            "churn-10min",
            "median sessions of 10 min, 5 % loss, 8 copies: 99.9 % of gets right for an hour",
            network_scripts.churn(600.0, 1.0, replication=8, gets=20_000, at_least=0.999),
            nodes=1_000,
            values=1_000,
            conditions=Conditions.worldwide(loss=0.05),
        ),
        Scenario(
            "churn-60min",
            "median sessions of 60 min, 5 copies: 99.99 % of gets right for an hour",
            network_scripts.churn(3600.0, 1.0, replication=5, gets=40_000, at_least=0.9999),
            nodes=1_000,
            values=1_000,
        ),
        Scenario(
            "churn-measured",
            "sessions as measured among real peers, many short, some long: 99.9 % of gets right for an hour",
            network_scripts.churn(600.0, 0.5, replication=8, gets=20_000, at_least=0.999),
            nodes=1_000,
            values=1_000,
            conditions=Conditions.worldwide(loss=0.01),
        ),
        Scenario(
            "partition",
            "a partition into halves for 10 min, puts in both: all agree on every key a minute later",
            network_scripts.partition,
            nodes=100,
            values=50,
            bootstrap_nodes=2,
        ),
        Scenario(
            "one-way",
            "30 % of the nodes behind NATs: in no reply after a minute, 99.9 % of their gets and puts right",
            network_scripts.one_way,
            nodes=200,
            values=1_000,
        ),
        Scenario(
            "rewrites",
            "the same keys are put again and again, 5 % loss: no get returns a replaced value",
            network_scripts.rewrites,
            nodes=100,
            values=20,
            conditions=Conditions.worldwide(loss=0.05),
        ),
        Scenario(
            "clocks",
            "clocks wrong by up to a day, sleeping hosts: no operation fails, no value expires early or late",
            host_scripts.clocks,
            nodes=100,
            values=200,
        ),
        Scenario(
            "newcomer",
            "a node joins a large network and finds each of 1,000 keys",
            network_scripts.newcomer,
            nodes=3_000,
            values=1_000,
        ),
        Scenario(
            "power-cut",
            "all nodes are killed at once and start again with their disks: no value is lost",
            host_scripts.power_cut,
            nodes=40,
            values=300,
        ),
        Scenario(
            "random-faults",
            "ten minutes of random faults of network, disks and nodes: gets are right five minutes later",
            host_scripts.random_faults,
            nodes=20,
            values=10,
            sealed=True,
        ),
        Scenario(
            "bad-disks",
            "half of the disks are full, broken or slow for five minutes: gets are right",
            host_scripts.bad_disks,
            nodes=40,
            values=300,
        ),
        Scenario(
            "one-subnet",
            "500 attackers in one subnet, 100 nodes in 100: few in each table, few receipts, gets right",
            attacks.one_subnet,
            nodes=98,
            values=100,
        ),
        Scenario(
            "eclipse-4",
            "20 attackers in 4 subnets next to each key deny it: 99.9 % of gets right",
            attacks.eclipse(4, 0.999),
            nodes=500,
            values=10,
        ),
        Scenario(
            "eclipse-20",
            "20 attackers in 20 subnets next to each key deny it: 95 % of gets right",
            attacks.eclipse(20, 0.95),
            nodes=500,
            values=10,
        ),
        Scenario(
            "hostile",
            "a fifth of the nodes is hostile in five ways: 99 % of gets of content and owners' records right",
            attacks.hostile,
            nodes=1_000,
            values=100,
        ),
        Scenario(
            "displacement",
            "a fifth of the nodes writes junk over content and owners' records: all gets right",
            attacks.displacement,
            nodes=200,
            values=100,
        ),
        Scenario(
            "history",
            "concurrent puts and gets of the same keys, with 1 to 20 copies: no get breaks a promise",
            history(FaultPlan()),
            nodes=200,
            values=36,
        ),
        Scenario(
            "history-restarts",
            "the same while nodes are killed and return with old copies, 3 % loss",
            history(FaultPlan(restarts=20.0, joins=4.0)),
            nodes=200,
            values=36,
            conditions=Conditions.worldwide(loss=0.03),
        ),
        Scenario(
            "history-deaths",
            "the same while nodes die for good and new ones join, 3 % loss",
            history(FaultPlan(deaths=6.0, joins=2.0)),
            nodes=200,
            values=36,
            conditions=Conditions.worldwide(loss=0.03),
        ),
        Scenario(
            "history-clocks",
            "the same while clocks are set wrong by up to an hour",
            history(FaultPlan(clock_steps=10.0)),
            nodes=200,
            values=36,
        ),
        Scenario(
            "history-partition",
            "the same with a partition for a minute; all promises hold from a minute after it",
            history(FaultPlan(partition_seconds=60.0)),
            nodes=200,
            values=36,
        ),
        Scenario(
            "history-liars",
            "the same while a tenth of the nodes is hostile in five ways",
            history(FaultPlan(hostile_share=0.1)),
            nodes=200,
            values=36,
        ),
        Scenario(
            "lowered",
            "an attacker tells holders that one copy is enough, all nodes are replaced: no value is lost",
            attacks.lowered_replication,
            nodes=40,
            values=30,
        ),
    )
}
"""By name."""

ALIASES = {"weather": "random-faults"}
"""Older names that the command line still accepts."""
