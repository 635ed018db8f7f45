/*
 * load: plays one dialogue in many sessions at once and says how often, how fast and how well.
 *
 *   load ADDRESS PORT [-p PARALLEL] [-d SECONDS] [-n SESSIONS] [-s [-r]] -- STEP...
 *
 *   -p  sessions at a time (1)
 *   -d  begins no session later than this (1), but the first
 *   -n  begins this number of sessions, however long it takes
 *   -s  TLS 1.3 from the start, a full handshake each; with -r sessions are resumed by ticket
 *
 * The steps are what one session does; dialogue.h lists them.  Prints one line of JSON: sessions that went well,
 * failed, were resumed, seconds, octets of messages, round trips, the median round trip in microseconds.  Standard error
 * says why sessions failed, up to five times.
 *
 * Sessions come from 64 addresses (127.0.1.1 to .64) in turn: no run meets ports of an earlier one, and a proxy sees
 * several clients.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "dialogue.h"

enum { BATCH = 256, TRIPS = 1 << 20, SOURCES = 64, STUCK = 20 }; /* STUCK: seconds */
enum outcome { GOES_ON, OVER, HELD, LOST };

struct session {
    int fd, slot, connected, shaken, waits; /* waits: for room in the socket */
    SSL *tls;
    int step;
    size_t done;       /* of this step: octets sent or received, replies */
    size_t column;     /* of the line that is being received */
    char first, fourth;
    char last[5];
    double asked;      /* seconds: when the last command went out */
};

static int poller, use_tls, resume;
static long parallel = 1, to_begin, begun, well, failed, resumed, held, alive;
static double seconds = 1, start;
static size_t octets;
static double trips[TRIPS];
static size_t trip_count;
static char chunk[1 << 18];
static struct sockaddr_in target;
static SSL_CTX *context;
static SSL_SESSION **tickets; /* one a slot */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void wait_for_room(struct session *s, int yes)
{
    if (s->waits == yes)
        return;
    struct epoll_event event = {.events = EPOLLIN | (yes ? EPOLLOUT : 0), .data.ptr = s};
    epoll_ctl(poller, EPOLL_CTL_MOD, s->fd, &event);
    s->waits = yes;
}

static ssize_t tls_answer(struct session *s, int code)
{
    if (code > 0)
        return code;
    int why = SSL_get_error(s->tls, code);
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

/* Both: octets that went, 0 if none can now, -1 if the connection is lost. */
static ssize_t put(struct session *s, const char *data, size_t length)
{
    if (s->tls)
        return tls_answer(s, SSL_write(s->tls, data, (int)length));
    ssize_t went = send(s->fd, data, length, MSG_NOSIGNAL);
    return went < 0 ? (errno == EAGAIN ? 0 : -1) : went;
}

static ssize_t take(struct session *s)
{
    if (s->tls)
        return tls_answer(s, SSL_read(s->tls, chunk, sizeof chunk));
    ssize_t came = recv(s->fd, chunk, sizeof chunk, 0);
    return came < 0 ? (errno == EAGAIN ? 0 : -1) : came == 0 ? -1 : came;
}

static void begin(int slot)
{
    if (to_begin ? begun >= to_begin : begun && now() - start > seconds)
        return;
    struct session *s = calloc(1, sizeof *s);
    struct sockaddr_in source = {.sin_family = AF_INET};
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = s};
    int yes = 1;
    source.sin_addr.s_addr = htonl(0x7f000101u + (unsigned)(begun % SOURCES));
    s->slot = slot;
    s->waits = 1;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0)
        die("load: socket");
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(s->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
    if (bind(s->fd, (void *)&source, sizeof source))
        die("load: bind");
    begun++;
    alive++;
    if (connect(s->fd, (void *)&target, sizeof target) && errno != EINPROGRESS)
        die("load: connect");
    epoll_ctl(poller, EPOLL_CTL_ADD, s->fd, &event);
}

static void end(struct session *s, const char *why)
{
    int slot = s->slot;
    if (!why)
        well++;
    else if (failed++ < 5)
        fprintf(stderr, "load: failed at step %d (%c): %s\n", s->step + 1, steps[s->step].kind, why);
    if (s->tls) {
        if (!why)
            SSL_shutdown(s->tls);
        SSL_free(s->tls);
    }
    close(s->fd);
    free(s);
    alive--;
    if (failed < 1000) /* a proxy that is down need not be asked for ever */
        begin(slot);
}

static int on_ticket(SSL *tls, SSL_SESSION *ticket)
{
    struct session *s = SSL_get_app_data(tls);
    SSL_SESSION_free(tickets[s->slot]);
    tickets[s->slot] = ticket;
    return 1;
}

static enum outcome push(struct session *s);

static enum outcome next(struct session *s)
{
    struct step *step = &steps[++s->step];
    s->done = 0;
    if (s->step == step_count)
        return OVER;
    if (step->kind == '~') {
        if (trip_count < TRIPS)
            trips[trip_count++] = now() - s->asked;
        if (now() - start > seconds)
            return next(s);
        s->step -= (int)step->length;
    }
    if (steps[s->step].kind == '>')
        s->asked = now();
    if (steps[s->step].kind == '!') {
        held++;
        begin(s->slot);
        return HELD;
    }
    return push(s);
}

/* Send what this step wants sent, and go on to the first step that waits for something. */
static enum outcome push(struct session *s)
{
    struct step *step = &steps[s->step];
    if (step->kind == '<' || step->kind == '@') {
        memcpy(s->last, "...\r\n", 5);
        s->column = 0;
        wait_for_room(s, 0);
        return GOES_ON;
    }
    while (s->done < step->length) {
        const char *data = step->text + s->done;
        size_t length = step->length - s->done;
        if (step->kind != '>' && s->done < step->whole) {
            data = step->block + s->done % BLOCK;
            length = BLOCK - s->done % BLOCK;
        } else if (step->kind != '>')
            data = step->ending + (s->done - step->whole);
        ssize_t went = put(s, data, length);
        if (went < 0)
            return LOST;
        if (went == 0) {
            wait_for_room(s, 1);
            return GOES_ON;
        }
        s->done += (size_t)went;
    }
    if (step->kind != '>')
        octets += step->length;
    return next(s);
}

/* Count replies in what has come: how many octets of it were used, -1 for a refusal. */
static ssize_t replies(struct session *s, const char *data, size_t length)
{
    size_t at = 0;
    while (at < length && s->done < steps[s->step].length) {
        if (s->column == 0)
            s->first = data[at];
        if (s->column == 3)
            s->fourth = data[at];
        s->column++;
        if (data[at++] != '\n')
            continue;
        if (s->first == '4' || s->first == '5' || s->first == '-') {
            if (failed < 5)
                fprintf(stderr, "load: refused: %.*s", (int)at, data);
            return -1;
        }
        s->done += s->first == '+' || s->fourth != '-';
        s->column = 0;
    }
    return (ssize_t)at;
}

static enum outcome feed(struct session *s, const char *data, size_t length)
{
    while (length) {
        struct step *step = &steps[s->step];
        if (step->kind == '<') {
            ssize_t used = replies(s, data, length);
            if (used < 0)
                return LOST;
            data += used;
            length -= (size_t)used;
            if (s->done < step->length)
                continue;
        } else if (step->kind == '@') { /* nothing follows a message before it is asked for */
            size_t new = length < 5 ? length : 5;
            memmove(s->last, s->last + new, 5 - new);
            memcpy(s->last + 5 - new, data + length - new, new);
            s->done += length;
            octets += length;
            length = 0;
            if (s->done < step->length || memcmp(s->last, "\r\n.\r\n", 5))
                continue;
        } else
            return step->kind == '!' ? HELD : LOST;
        enum outcome outcome = next(s);
        if (outcome != GOES_ON)
            return outcome;
    }
    return GOES_ON;
}

static enum outcome shake_hands(struct session *s)
{
    if (!s->tls) {
        s->tls = SSL_new(context);
        SSL_set_app_data(s->tls, s);
        SSL_set_fd(s->tls, s->fd);
        SSL_set_connect_state(s->tls);
        if (resume && tickets[s->slot])
            SSL_set_session(s->tls, tickets[s->slot]);
    }
    int code = SSL_do_handshake(s->tls);
    if (code == 1) {
        s->shaken = 1;
        resumed += SSL_session_reused(s->tls);
        return push(s);
    }
    if (tls_answer(s, code) < 0)
        return LOST;
    wait_for_room(s, SSL_get_error(s->tls, code) == SSL_ERROR_WANT_WRITE);
    return GOES_ON;
}

static enum outcome ready(struct session *s, unsigned events)
{
    enum outcome outcome = GOES_ON;
    if (!s->connected) {
        if (events & (EPOLLERR | EPOLLHUP))
            return LOST;
        s->connected = 1;
        s->shaken = !use_tls;
        if (s->shaken)
            outcome = push(s);
    } else if (events & EPOLLOUT && s->shaken && s->waits)
        outcome = push(s);
    if (outcome == GOES_ON && !s->shaken)
        outcome = shake_hands(s);
    while (outcome == GOES_ON && s->shaken) {
        ssize_t came = take(s);
        if (came == 0)
            return GOES_ON;
        outcome = came < 0 ? LOST : feed(s, chunk, (size_t)came);
        if (!s->tls && (size_t)came < sizeof chunk)
            return outcome;
    }
    return outcome;
}

static void turn(void)
{
    struct epoll_event events[BATCH];
    int count = epoll_wait(poller, events, BATCH, STUCK * 1000);
    if (count == 0) {
        fprintf(stderr, "load: nothing has happened for %d s in %ld sessions\n", STUCK, alive);
        failed += alive;
        alive = 0;
    }
    for (int i = 0; i < count; i++) {
        struct session *s = events[i].data.ptr;
        if (steps[s->step].kind == '!') {
            if (take(s) < 0 || events[i].events & (EPOLLHUP | EPOLLERR)) {
                held--;
                end(s, "an idle session was lost");
            }
            continue;
        }
        enum outcome outcome = ready(s, events[i].events);
        if (outcome == OVER || outcome == LOST)
            end(s, outcome == OVER ? NULL : "refused or lost");
    }
}

static int ascending(const void *a, const void *b)
{
    double one = *(const double *)a, other = *(const double *)b;
    return one < other ? -1 : one > other;
}

static void prepare_tls(void)
{
    context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(context, 1);
    if (resume) {
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(context, on_ticket);
    }
}

int main(int count, char **words)
{
    int option;
    if (count < 4) {
        fprintf(stderr, "usage: load ADDRESS PORT [-p N] [-d SECONDS] [-n N] [-s [-r]] -- STEP...\n");
        return 2;
    }
    target.sin_family = AF_INET;
    target.sin_port = htons((unsigned short)atoi(words[2]));
    inet_pton(AF_INET, words[1], &target.sin_addr);
    optind = 3;
    while ((option = getopt(count, words, "p:d:n:sr")) != -1)
        switch (option) {
        case 'p': parallel = atol(optarg); break;
        case 'd': seconds = atof(optarg); break;
        case 'n': to_begin = atol(optarg); break;
        case 's': use_tls = 1; break;
        case 'r': resume = 1; break;
        default: return 2;
        }
    while (optind < count)
        add(words[optind++]);
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
    raise_limit();
    tickets = calloc((size_t)parallel, sizeof *tickets);
    if (use_tls)
        prepare_tls();
    poller = epoll_create1(EPOLL_CLOEXEC);
    start = now();
    for (int slot = 0; slot < parallel; slot++)
        begin(slot);
    while (alive > held)
        turn();
    double took = now() - start;
    if (held) {
        printf("held %ld\n", held);
        fflush(stdout);
        while (read(0, chunk, sizeof chunk) > 0)
            ;
    }
    qsort(trips, trip_count, sizeof *trips, ascending);
    printf("{\"sessions\": %ld, \"failed\": %ld, \"resumed\": %ld, \"seconds\": %.4f, \"octets\": %zu, \"trips\": %zu, "
           "\"trip_us\": %.2f}\n",
           well, failed, resumed, took, octets, trip_count, trip_count ? trips[trip_count / 2] * 1e6 : 0.0);
    return failed != 0;
}
