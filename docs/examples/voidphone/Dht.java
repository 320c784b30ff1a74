// java Dht.java HOST PORT put KEY VALUE | java Dht.java HOST PORT get KEY      (Java 11 or newer)
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;

class Dht {
    static void stop(int code, String why) {
        System.err.println(why);
        System.exit(code);
    }

    public static void main(String[] args) {
        boolean isPut = args.length == 5 && args[2].equals("put");
        if (!isPut && !(args.length == 4 && args[2].equals("get"))) stop(2, "HOST PORT put KEY VALUE | get KEY");
        byte[] key = args[3].getBytes(StandardCharsets.UTF_8);
        byte[] value = isPut ? args[4].getBytes(StandardCharsets.UTF_8) : new byte[0];
        if (key.length > 32 || isPut && (value.length < 1 || value.length > 65495))
            stop(2, "key: up to 32 bytes; value: 1 to 65495");
        ByteBuffer frame = ByteBuffer.allocate((isPut ? 40 : 36) + value.length); // big-endian
        frame.putShort((short) frame.capacity()).putShort((short) (isPut ? 650 : 651));
        if (isPut) frame.putShort((short) 3600).put((byte) 0).put((byte) 0); // ttl, replication: default, reserved
        frame.put(key).position((isPut ? 8 : 4) + 32); // zeros pad the key
        frame.put(value);
        try (Socket node = new Socket(args[0], Integer.parseInt(args[1]))) {
            node.setSoTimeout(15_000);
            new DataOutputStream(node.getOutputStream()).write(frame.array());
            DataInputStream reply = new DataInputStream(node.getInputStream());
            int size = reply.readUnsignedShort(), kind = reply.readUnsignedShort();
            byte[] body = reply.readNBytes(size - 4);
            if (body.length < Math.max(32, size - 4) || kind != 652 && kind != 653) throw new IOException("bad reply");
            if (kind == 653) stop(1, isPut ? "not stored" : "not found");
            if (!isPut) System.out.write(body, 32, body.length - 32);
            System.out.flush();
        } catch (IOException | IllegalArgumentException e) { stop(1, "no answer: " + e); }
    }
}
