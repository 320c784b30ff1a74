"""What `twistd` offers once DHT-14 is installed. Only names: nothing is imported before it is asked for."""

from twisted.application.service import ServiceMaker

node = ServiceMaker("DHT-14 node", "dht14.cmd.node", "A node of a Kademlia distributed hash table", "dht14")

bootstrap = ServiceMaker(
    "DHT-14 bootstrap node",
    "dht14.cmd.bootstrap",
    "A node that others join through: it routes, but holds no values and has no API",
    "dht14-bootstrap",
)
