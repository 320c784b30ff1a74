/* dht HOST PORT put KEY VALUE | dht HOST PORT get KEY      cc -o dht dht.c */
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

static void stop(int code, const char *why) { fprintf(stderr, "%s\n", why); exit(code); }

static void receive(int node, unsigned char *data, size_t size) {
    for (ssize_t n; size > 0; data += n, size -= n)
        if ((n = recv(node, data, size, 0)) <= 0) stop(1, "the node hung up, or was silent for 15 s");
}

int main(int argc, char **argv) {
    int is_put = argc == 6 && !strcmp(argv[3], "put");
    if (!is_put && !(argc == 5 && !strcmp(argv[3], "get"))) stop(2, "dht HOST PORT put KEY VALUE | get KEY");
    size_t key = strlen(argv[4]), value = is_put ? strlen(argv[5]) : 0;
    if (key > 32 || (is_put && (value < 1 || value > 65495))) stop(2, "key: up to 32 bytes; value: 1 to 65495");
    static unsigned char frame[65536]; /* zeros: they pad the key */
    size_t head = is_put ? 8 : 4, size = head + 32 + value, kind = is_put ? 650 : 651;
    frame[0] = size >> 8, frame[1] = size, frame[2] = kind >> 8, frame[3] = kind;
    if (is_put) frame[4] = 3600 >> 8, frame[5] = 3600 & 255; /* ttl in seconds; replication 0: the default */
    memcpy(frame + head, argv[4], key), memcpy(frame + head + 32, argv[argc - 1], value);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *at;
    if (getaddrinfo(argv[1], argv[2], &hints, &at)) stop(1, "no host of this name");
    int node = -1, lost = 1;
    for (; lost && at; at = at->ai_next)
        node = socket(at->ai_family, SOCK_STREAM, 0), lost = connect(node, at->ai_addr, at->ai_addrlen);
    if (lost) stop(1, "no node listens there");
    setsockopt(node, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){.tv_sec = 15}, sizeof(struct timeval));
    if (send(node, frame, size, MSG_NOSIGNAL) != (ssize_t)size) stop(1, "the node hung up");
    receive(node, frame, 4);
    size = frame[0] << 8 | frame[1], kind = frame[2] << 8 | frame[3];
    if (size < 36 || (kind != 652 && kind != 653)) stop(1, "this is no reply to a PUT or a GET");
    receive(node, frame + 4, size - 4);
    if (kind == 653) stop(1, is_put ? "not stored" : "not found");
    return !is_put && fwrite(frame + 36, 1, size - 36, stdout) != size - 36;
}
