/*
 * The load generator of the benchmark: one thread, epoll, no allocation in a session, so that it takes less of a
 * session's time than what it measures does. Lock-step SMTP, one write for a command or a message, TCP_NODELAY.
 *
 *   load NAME=VALUE …   and JSON on standard output
 *
 *   port         where to connect (127.0.0.1)
 *   connections  at once
 *   seconds      sessions are begun for so long; those in hand are ended
 *   rate         sessions begun in a second; 0: as fast as connections allow
 *   messages     of a session
 *   size         octets of a message
 *   refused      of 100 sessions so many try to relay, and expect 5xx
 *   good, bad    recipients
 *   auth         base64 for AUTH PLAIN
 *   sources      clients come from 127.0.0.2 up to so many addresses
 *   idle         this many sessions say EHLO, then "ready" is printed and they wait until standard input ends
 *   drip         milliseconds from octet to octet that each idle session sends; 0: none
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

#define PATIENCE 20e6 /* microseconds without progress that make a session an error */
#define MOST_CONNECTIONS 65536
#define MOST_SAMPLES (1 << 22)

enum step { CLOSED, CONNECT, BANNER, EHLO, AUTH, MAIL, RCPT, DATA, BODY, RSET, QUIT, WAIT };

struct session {
    int fd;
    enum step step;
    int bad;         /* tries to relay */
    int left;        /* messages still to send, the one in hand included */
    size_t sent;     /* octets of the message */
    int watches_out; /* epoll tells when more can be written */
    double begun, touched;
    size_t have;
    char reply[4096];
};

static struct session *sessions;
static int epoll;
static char *message;
static size_t message_size;
static int port, connections = 16, messages = 1, refused, sources = 8;
static double seconds = 3, rate;
static long size = 1024;
static const char *good = "u@local.example", *bad = "y@victim.example", *auth;
static long idle, drip;

static long started, completed, delivered, turned_away, errors;
static char first_error[512];
static float *samples;
static long sampled;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static void fail(struct session *s, const char *what, const char *said) {
    static const char *const NAMES[] = {"closed", "connect", "banner", "EHLO", "AUTH", "MAIL",
                                        "RCPT",   "DATA",    "body",   "RSET", "QUIT", "wait"};
    if (errors++ == 0)
        snprintf(first_error, sizeof first_error, "%s: %s %.200s", NAMES[s->step], what, said);
    close(s->fd);
    s->step = CLOSED;
}

static void watch(struct session *s, int op, int out) {
    struct epoll_event e = {.events = EPOLLIN | (out ? EPOLLOUT : 0), .data.ptr = s};
    epoll_ctl(epoll, op, s->fd, &e);
    s->watches_out = out;
}

static void say(struct session *s, enum step next, const char *format, const char *argument) {
    char line[512];
    int length = snprintf(line, sizeof line, format, argument);
    s->step = next;
    if (write(s->fd, line, length) != length) fail(s, "short write", strerror(errno));
}

static void begin(struct session *s) {
    int one = 1;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)}, from = {.sin_family = AF_INET};
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    s->bad = (started * 37) % 100 < refused;
    s->left = messages;
    s->have = s->sent = 0;
    s->step = CONNECT;
    s->begun = s->touched = now();
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(s->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + started % sources);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    started++;
    if (bind(s->fd, (struct sockaddr *)&from, sizeof from) != 0 ||
        (connect(s->fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS)) {
        fail(s, "cannot connect", strerror(errno));
        return;
    }
    s->step = BANNER;
    watch(s, EPOLL_CTL_ADD, 0);
}

static void end(struct session *s) {
    double took = now() - s->begun;
    close(s->fd);
    s->step = CLOSED;
    completed++;
    /* In a mix, how long legitimate clients take is what counts. */
    if ((!s->bad || refused == 100) && sampled < MOST_SAMPLES) samples[sampled++] = took;
}

static void send_message(struct session *s) {
    while (s->sent < message_size) {
        ssize_t n = write(s->fd, message + s->sent, message_size - s->sent);
        if (n < 0) {
            if (errno != EAGAIN) fail(s, "write", strerror(errno));
            else if (!s->watches_out) watch(s, EPOLL_CTL_MOD, 1);
            return;
        }
        s->sent += n;
        s->touched = now();
    }
    if (s->watches_out) watch(s, EPOLL_CTL_MOD, 0);
}

static void expect(struct session *s, int code, const char *said, int wanted) {
    if (code / 100 != wanted) fail(s, "answered", said);
}

static void next_message(struct session *s) {
    if (--s->left > 0) say(s, MAIL, "MAIL FROM:<%s>\r\n", "a@sender.example");
    else say(s, QUIT, "QUIT\r\n%s", "");
}

static void on_reply(struct session *s, int code, const char *said) {
    enum step step = s->step;
    switch (step) {
    case RCPT:
        if (s->bad) {
            expect(s, code, said, 5);
            if (s->step == CLOSED) return;
            turned_away++;
            if (s->left > 1) say(s, RSET, "RSET\r\n%s", "");
            else say(s, QUIT, "QUIT\r\n%s", "");
            return;
        }
        expect(s, code, said, 2);
        break;
    case DATA:
        expect(s, code, said, 3);
        break;
    default:
        expect(s, code, said, 2);
    }
    if (s->step == CLOSED) return;
    switch (step) {
    case BANNER:
        say(s, EHLO, "EHLO %s\r\n", "client.example");
        break;
    case EHLO:
        if (idle > 0) s->step = WAIT;
        else if (auth != NULL) say(s, AUTH, "AUTH PLAIN %s\r\n", auth);
        else say(s, MAIL, "MAIL FROM:<%s>\r\n", "a@sender.example");
        break;
    case AUTH:
        say(s, MAIL, "MAIL FROM:<%s>\r\n", "a@sender.example");
        break;
    case MAIL:
        say(s, RCPT, "RCPT TO:<%s>\r\n", s->bad ? bad : good);
        break;
    case RCPT:
        say(s, DATA, "DATA\r\n%s", "");
        break;
    case DATA:
        s->step = BODY;
        s->sent = 0;
        send_message(s);
        break;
    case BODY:
        if (s->sent < message_size) {
            fail(s, "answered within the message", said);
            break;
        }
        delivered++;
        next_message(s);
        break;
    case RSET:
        next_message(s);
        break;
    case QUIT:
        end(s);
        break;
    default:
        fail(s, "said unasked", said);
    }
}

static void on_readable(struct session *s) {
    ssize_t n = read(s->fd, s->reply + s->have, sizeof s->reply - 1 - s->have);
    if (n <= 0) {
        if (n < 0 && errno == EAGAIN) return;
        fail(s, n == 0 ? "closed" : strerror(errno), "");
        return;
    }
    s->have += n;
    s->reply[s->have] = 0;
    s->touched = now();
    /* The last line of a reply has a space behind its code. */
    char *line = s->reply, *lf;
    while (s->step != CLOSED && (lf = strchr(line, '\n')) != NULL) {
        *lf = 0;
        if (lf - line >= 3 && line[3] != '-') on_reply(s, atoi(line), line);
        line = lf + 1;
    }
    if (s->step == CLOSED) return;
    s->have -= line - s->reply;
    memmove(s->reply, line, s->have);
    if (s->have >= sizeof s->reply - 1) fail(s, "endless line", "");
}

static void make_message(void) {
    static const char HEAD[] = "From: <a@sender.example>\r\nTo: <u@local.example>\r\nSubject: benchmark\r\n"
                               "Date: Thu, 1 Jan 2026 00:00:00 +0000\r\nMessage-Id: <1@sender.example>\r\n\r\n";
    const size_t head = sizeof HEAD - 1;
    message = malloc(size + head + 128);
    memcpy(message, HEAD, head);
    size_t at = head;
    while (at < (size_t)size - 5) {
        size_t room = size - 5 - at, text = room > 78 ? 76 : room > 2 ? room - 2 : 1;
        memset(message + at, 'a' + at % 26, text);
        memcpy(message + at + text, "\r\n", 2);
        at += text + 2;
    }
    memcpy(message + at, ".\r\n", 3);
    message_size = at + 3;
}

static int in_hand(void) {
    int count = 0;
    for (int i = 0; i < connections; i++) count += sessions[i].step != CLOSED;
    return count;
}

static void pump(int timeout) {
    struct epoll_event events[256];
    int n = epoll_wait(epoll, events, 256, timeout);
    for (int i = 0; i < n; i++) {
        struct session *s = events[i].data.ptr;
        if (s->step == CLOSED) continue;
        if (events[i].events & EPOLLOUT) send_message(s);
        if (s->step != CLOSED && events[i].events & ~EPOLLOUT) on_readable(s);
    }
}

static void bury_the_dead(void) {
    const double t = now();
    for (int i = 0; i < connections; i++)
        if (sessions[i].step != CLOSED && sessions[i].step != WAIT && t - sessions[i].touched > PATIENCE)
            fail(&sessions[i], "no answer in time", "");
}

static int compare(const void *a, const void *b) {
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double quantile(double q) { return sampled == 0 ? 0 : samples[(long)(q * (sampled - 1))]; }

static void quote(const char *text) {
    putchar('"');
    for (; *text; text++)
        if (*text >= ' ' && *text != '"' && *text != '\\' && *text < 127) putchar(*text);
    putchar('"');
}

static double cpu(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 + u.ru_utime.tv_usec + u.ru_stime.tv_usec;
}

static void report(double took) {
    const double used = cpu();
    qsort(samples, sampled, sizeof *samples, compare);
    printf("{\"seconds\":%.6f,\"sessions\":%ld,\"messages\":%ld,\"refused\":%ld,\"errors\":%ld,\"error\":", took / 1e6,
           completed, delivered, turned_away, errors);
    quote(first_error);
    printf(",\"p50\":%.0f,\"p99\":%.0f,\"cpu\":%.0f}\n", quantile(0.5), quantile(0.99), used);
}

static double run(void) {
    const double begun = now(), until = begun + seconds * 1e6;
    double looked = begun;
    for (;;) {
        const double t = now();
        const int over = t >= until;
        if (!over)
            for (int i = 0; i < connections && (rate == 0 || started < (t - begun) * rate / 1e6); i++)
                if (sessions[i].step == CLOSED) begin(&sessions[i]);
        if (over && in_hand() == 0) return now() - begun;
        pump(rate > 0 && !over ? 1 : 50);
        if (t - looked > 1e6) {
            bury_the_dead();
            looked = t;
        }
    }
}

/* 64 connections at a time, for listeners with a short queue. */
static double be_idle(void) {
    const double begun = now();
    int at = 0;
    while (at < idle) {
        const int from = at, to = at + 64 > idle ? idle : at + 64;
        for (; at < to; at++) begin(&sessions[at]);
        for (int pending = 1; pending;) {
            pump(1000);
            bury_the_dead();
            pending = 0;
            for (int i = from; i < to; i++) pending |= sessions[i].step != WAIT && sessions[i].step != CLOSED;
        }
    }
    puts("ready");
    fflush(stdout);
    struct pollfd end = {.fd = 0, .events = POLLIN};
    for (long tick = 0; poll(&end, 1, drip > 0 ? drip : -1) == 0; tick++) {
        for (int i = 0; i < idle; i++)
            if (sessions[i].step == WAIT && write(sessions[i].fd, tick == 0 ? "N" : "x", 1) != 1)
                fail(&sessions[i], "closed while idle", "");
    }
    /* Who was closed meanwhile is seen now. */
    for (int i = 0; i < idle / 256 + 2; i++) pump(0);
    completed = in_hand();
    return now() - begun;
}

static void option(const char *given) {
    const char *value = strchr(given, '=');
    const struct { const char *name; int *i; long *l; double *d; const char **s; } OPTIONS[] = {
        {"port", .i = &port},       {"connections", .i = &connections}, {"seconds", .d = &seconds},
        {"rate", .d = &rate},       {"messages", .i = &messages},       {"size", .l = &size},
        {"refused", .i = &refused}, {"good", .s = &good},               {"bad", .s = &bad},
        {"auth", .s = &auth},       {"sources", .i = &sources},         {"idle", .l = &idle},
        {"drip", .l = &drip},
    };
    for (size_t i = 0; value != NULL && i < sizeof OPTIONS / sizeof *OPTIONS; i++) {
        if (strncmp(given, OPTIONS[i].name, value - given) != 0 || OPTIONS[i].name[value - given] != 0) continue;
        value++;
        if (OPTIONS[i].i) *OPTIONS[i].i = atoi(value);
        else if (OPTIONS[i].l) *OPTIONS[i].l = atol(value);
        else if (OPTIONS[i].d) *OPTIONS[i].d = atof(value);
        else *OPTIONS[i].s = value;
        return;
    }
    fprintf(stderr, "load: no such option: %s\n", given);
    exit(2);
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) option(argv[i]);
    if (idle > 0) connections = idle;
    if (port <= 0 || connections < 1 || connections > MOST_CONNECTIONS || sources < 1 || size < 256) {
        fprintf(stderr, "load: port, 1 to %d connections, sources and a size of 256 or more are needed\n",
                MOST_CONNECTIONS);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    sessions = calloc(connections, sizeof *sessions);
    samples = malloc(MOST_SAMPLES * sizeof *samples);
    make_message();
    report(idle > 0 ? be_idle() : run());
    return 0;
}
