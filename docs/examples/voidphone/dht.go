// go run dht.go HOST PORT put KEY VALUE | go run dht.go HOST PORT get KEY
package main

import (
	"encoding/binary"
	"net"
	"os"
	"time"
)

func stopIf(wrong bool, code int, why string) {
	if wrong {
		println(why) // to stderr
		os.Exit(code)
	}
}

func main() {
	args, size := append(os.Args, "", "", "", "", ""), len(os.Args) // HOST is args[1]
	isPut, isGet, key, value := args[3] == "put" && size == 6, args[3] == "get" && size == 5, args[4], args[5]
	stopIf(!isPut && !isGet, 2, "HOST PORT put KEY VALUE | get KEY")
	stopIf(len(key) > 32 || isPut && (value == "" || len(value) > 65495), 2, "key: up to 32 bytes; value: 1 to 65495")
	kind, body := uint16(651), append([]byte(key), make([]byte, 32-len(key))...) // zeros pad the key
	if isPut {                                                                   // ttl 3600 s; replication 0: the default
		kind, body = 650, append(append([]byte{3600 >> 8, 3600 & 255, 0, 0}, body...), value...)
	}
	head := [2]uint16{uint16(4 + len(body)), kind}
	node, err := net.Dial("tcp", net.JoinHostPort(args[1], args[2]))
	stopIf(err != nil, 1, "no node listens there")
	node.SetDeadline(time.Now().Add(15 * time.Second))
	binary.Write(node, binary.BigEndian, head)
	node.Write(body) // what fails here fails below, too
	stopIf(binary.Read(node, binary.BigEndian, &head) != nil, 1, "the node hung up, or was silent for 15 s")
	stopIf(head[0] < 36 || head[1] != 652 && head[1] != 653, 1, "this is no reply to a PUT or a GET")
	reply := make([]byte, head[0]-4)
	stopIf(binary.Read(node, binary.BigEndian, reply) != nil || head[1] == 653, 1, "not stored, or not found")
	if isGet {
		os.Stdout.Write(reply[32:])
	}
}
