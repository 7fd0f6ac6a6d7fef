/*
 * A mail server that does nothing but answer, as fast as one thread can: the sink of the workloads that are to show a
 * proxy and not what stands behind it. No checks, no limits; answers what was pipelined in one write.
 *
 *   sink PORT [refuse]     refuse: every RCPT gets 550
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BLOCK (256 * 1024)

struct client {
    int fd, in_data;
    size_t have;    /* octets of a command line that is not whole yet, or the last ones of message data */
    char rest[1024];
};

static int epoll, refuse;
/* Room for what is left of a block before, in front of what is read. */
static char room[1024 + BLOCK + 1];
static char answers[64 * 1024];
static size_t answered;

static void answer(const char *text) {
    const size_t length = strlen(text);
    if (answered + length > sizeof answers) return;
    memcpy(answers + answered, text, length);
    answered += length;
}

/* Returns 1 when the client is to be closed. */
static int command(struct client *c, const char *line) {
    switch (line[0] & ~32) {
    case 'E':
        answer("250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 100000000\r\n");
        return 0;
    case 'R':
        answer(refuse && (line[1] & ~32) == 'C' ? "550 5.7.1 Relaying denied\r\n" : "250 2.0.0 Ok\r\n");
        return 0;
    case 'D':
        c->in_data = 1;
        answer("354 End data with <CR><LF>.<CR><LF>\r\n");
        return 0;
    case 'Q':
        answer("221 2.0.0 Bye\r\n");
        return 1;
    default:
        answer("250 2.0.0 Ok\r\n");
        return 0;
    }
}

/* Returns what is left over; `closing` is set by QUIT. */
static char *take(struct client *c, char *at, char *end, int *closing) {
    for (;;) {
        if (c->in_data) {
            /* Most blocks end within a message: the last five octets say whether this one does not. */
            char *dot = end - at >= 5 && memcmp(end - 5, "\r\n.\r\n", 5) == 0 ? end - 5 : memmem(at, end - at, "\r\n.\r\n", 5);
            if (dot == NULL) return end - at > 4 ? end - 4 : at;
            c->in_data = 0;
            answer("250 2.0.0 Ok: queued\r\n");
            at = dot + 5;
        }
        char *lf = memchr(at, '\n', end - at);
        if (lf == NULL) return at;
        *closing |= command(c, at);
        at = lf + 1;
    }
}

static void serve(struct client *c) {
    char *block = room + sizeof c->rest;
    const ssize_t n = read(c->fd, block, BLOCK);
    if (n < 0 && errno == EAGAIN) return;
    int closing = n <= 0;
    if (n > 0) {
        char *from = memcpy(block - c->have, c->rest, c->have), *end = block + n;
        answered = 0;
        char *left = take(c, from, end, &closing);
        c->have = end - left;
        if (c->have > sizeof c->rest) closing = 1;
        else memcpy(c->rest, left, c->have);
        if (answered > 0 && write(c->fd, answers, answered) != (ssize_t)answered) closing = 1;
    }
    if (closing) {
        close(c->fd);
        free(c);
    }
}

static void welcome(int listener) {
    for (int i = 0; i < 64; i++) {
        const int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
        if (fd < 0) return;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct client *c = calloc(1, sizeof *c);
        c->fd = fd;
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e);
        static const char BANNER[] = "220 sink.example ESMTP\r\n";
        if (write(fd, BANNER, sizeof BANNER - 1) < 0) shutdown(fd, SHUT_RDWR);
    }
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    refuse = argc > 2;
    signal(SIGPIPE, SIG_IGN);
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) != 0 || listen(listener, 4096) != 0) {
        perror("sink");
        return 1;
    }
    epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        struct epoll_event events[256];
        const int n = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == NULL) welcome(listener);
            else serve(events[i].data.ptr);
        }
    }
}
