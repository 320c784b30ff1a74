// node dht.js HOST PORT put KEY VALUE | node dht.js HOST PORT get KEY
const net = require("node:net");

function stop(code, why) {
  console.error(why);
  process.exit(code);
}

const [host, port, action, keyText, valueText] = process.argv.slice(2);
const isPut = action === "put" && process.argv.length === 7;
if (!isPut && !(action === "get" && process.argv.length === 6)) stop(2, "HOST PORT put KEY VALUE | get KEY");
const key = Buffer.from(keyText), value = Buffer.from(isPut ? valueText : "");
if (key.length > 32 || (isPut && (value.length < 1 || value.length > 65495)))
  stop(2, "key: up to 32 bytes; value: 1 to 65495");

const head = isPut ? 8 : 4;
const frame = Buffer.alloc(head + 32 + value.length); // zeros pad the key
frame.writeUInt16BE(frame.length, 0);
frame.writeUInt16BE(isPut ? 650 : 651, 2);
if (isPut) frame.writeUInt16BE(3600, 4); // ttl in seconds; replication 0: the default
key.copy(frame, head);
value.copy(frame, head + 32);

const node = net.connect({ host, port: Number(port) }, () => node.write(frame));
let reply = Buffer.alloc(0);
node.setTimeout(15_000, () => stop(1, "the node was silent for 15 s"));
node.on("error", (error) => stop(1, error.message));
node.on("close", () => stop(1, "the node hung up"));
node.on("data", (bytes) => {
  reply = Buffer.concat([reply, bytes]);
  if (reply.length < 4 || reply.length < reply.readUInt16BE(0)) return;
  node.removeAllListeners();
  const kind = reply.readUInt16BE(2);
  if (reply.length < 36 || (kind !== 652 && kind !== 653)) stop(1, "this is no reply to a PUT or a GET");
  if (kind === 653) stop(1, isPut ? "not stored" : "not found");
  if (!isPut) process.stdout.write(reply.subarray(36), () => process.exit(0));
  else process.exit(0);
});
