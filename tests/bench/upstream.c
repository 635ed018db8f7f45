/*
 * upstream ADDRESS: the mail server behind every proxy of the benchmark, as quick as a mail server can be.
 *
 * One process, one epoll, no disk: what is measured is the proxy.  It binds two free ports of ADDRESS, prints
 * "smtp PORT pop3 PORT", and serves until it is killed.
 *
 * SMTP: takes every message and forgets it; offers PIPELINING.  The end of a message is looked for only at the end of
 * what has arrived, so a client must wait for the reply to its final dot (load.c does).
 * POP3: takes every login.  "RETR n" sends a message of n KiB, rounded down to whole lines, that looks like base64.
 *
 * It is no mail server: lines end at LF, a verb is its first four letters, and a line longer than LINE is cut.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "both.h"

enum { LINE = 1024, BATCH = 256, READS = 8 };
enum { SMTP, POP3, PROTOCOLS };

struct link {
    int fd, protocol, listens, in_message, closing, waits; /* waits: for room in the socket */
    char last[5];          /* octets of the message so far */
    char *line;            /* the beginning of a command whose end has not come */
    size_t line_length;
    size_t mail, mail_at;  /* octets of a message to be sent, and how many are out */
    char *rest;            /* replies that the socket did not take */
    size_t rest_length;
};

static char block[BLOCK], chunk[1 << 18];
static char said[1 << 16]; /* replies of this turn */
static size_t said_length;
static int poller;

static const char *const GREETING[] = {"220 upstream.example ESMTP\r\n", "+OK upstream.example\r\n"};

static void say(const char *text)
{
    size_t length = strlen(text);
    if (said_length + length > sizeof said) {
        fprintf(stderr, "upstream: more commands at once than replies fit\n");
        exit(1);
    }
    memcpy(said + said_length, text, length);
    said_length += length;
}

static void drop(struct link *link)
{
    close(link->fd);
    free(link->line);
    free(link->rest);
    free(link);
}

static void wait_for_room(struct link *link, int yes)
{
    if (link->waits == yes)
        return;
    struct epoll_event event = {.events = EPOLLIN | (yes ? EPOLLOUT : 0), .data.ptr = link};
    epoll_ctl(poller, EPOLL_CTL_MOD, link->fd, &event);
    link->waits = yes;
}

/* Send some of it; how much went, -1 if the link is lost. */
static ssize_t put(struct link *link, const char *data, size_t length)
{
    ssize_t went = send(link->fd, data, length, MSG_NOSIGNAL);
    return went < 0 ? (errno == EAGAIN ? 0 : -1) : went;
}

/* Send what is due: the rest of earlier replies, this turn's, the message.  0, or -1 if the link is lost. */
static int flush(struct link *link)
{
    if (said_length) {
        link->rest = realloc(link->rest, link->rest_length + said_length);
        memcpy(link->rest + link->rest_length, said, said_length);
        link->rest_length += said_length;
        said_length = 0;
    }
    while (link->rest_length) {
        ssize_t went = put(link, link->rest, link->rest_length);
        if (went <= 0) {
            wait_for_room(link, went == 0);
            return (int)went;
        }
        link->rest_length -= (size_t)went;
        memmove(link->rest, link->rest + went, link->rest_length);
    }
    free(link->rest);
    link->rest = NULL;
    while (link->mail_at < link->mail) {
        size_t at = link->mail_at % BLOCK, length = BLOCK - at, left = link->mail - link->mail_at;
        ssize_t went = put(link, block + at, length < left ? length : left);
        if (went <= 0) {
            wait_for_room(link, went == 0);
            return (int)went;
        }
        link->mail_at += (size_t)went;
    }
    if (link->mail) {
        link->mail = link->mail_at = 0;
        say(".\r\n");
        return flush(link);
    }
    wait_for_room(link, 0);
    return link->closing ? -1 : 0;
}

static int is(const char *line, const char *verb)
{
    return !strncasecmp(line, verb, 4);
}

static void smtp(struct link *link, const char *line)
{
    if (is(line, "MAIL") || is(line, "RCPT") || is(line, "NOOP") || is(line, "RSET"))
        say("250 2.0.0 Ok\r\n");
    else if (is(line, "EHLO"))
        say("250-upstream.example\r\n250-PIPELINING\r\n250-SIZE 1073741824\r\n"
            "250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n");
    else if (is(line, "HELO"))
        say("250 upstream.example\r\n");
    else if (is(line, "DATA")) {
        say("354 Go ahead\r\n");
        link->in_message = 1;
        memcpy(link->last, "...\r\n", 5);
    } else if (is(line, "QUIT")) {
        say("221 2.0.0 Bye\r\n");
        link->closing = 1;
    } else
        say("502 5.5.1 Not here\r\n");
}

static void pop3(struct link *link, const char *line)
{
    char head[64];
    if (is(line, "USER") || is(line, "PASS") || is(line, "NOOP"))
        say("+OK\r\n");
    else if (is(line, "STAT"))
        say("+OK 2 8192\r\n");
    else if (is(line, "CAPA"))
        say("+OK\r\nUSER\r\nPIPELINING\r\n.\r\n");
    else if (is(line, "RETR")) {
        link->mail = strtoul(line + 4, NULL, 10) * 1024 / WIDTH * WIDTH;
        snprintf(head, sizeof head, "+OK %zu octets\r\n", link->mail);
        say(head);
    } else if (is(line, "QUIT")) {
        say("+OK\r\n");
        link->closing = 1;
    } else
        say("-ERR Not here\r\n");
}

static void body(struct link *link, const char *data, size_t length)
{
    size_t new = length < 5 ? length : 5;
    memmove(link->last, link->last + new, 5 - new);
    memcpy(link->last + 5 - new, data + length - new, new);
    if (!memcmp(link->last, "\r\n.\r\n", 5)) {
        link->in_message = 0;
        say("250 2.0.0 Queued\r\n");
    }
}

static void commands(struct link *link, const char *data, size_t length)
{
    while (length && !link->in_message) {
        const char *end = memchr(data, '\n', length);
        size_t taken = end ? (size_t)(end - data) + 1 : length;
        size_t room = LINE - 1 - link->line_length, kept = taken < room ? taken : room;
        if (!link->line)
            link->line = malloc(LINE);
        memcpy(link->line + link->line_length, data, kept);
        link->line_length += kept;
        data += taken;
        length -= taken;
        if (!end)
            return;
        link->line[link->line_length] = 0;
        link->line_length = 0;
        (link->protocol == SMTP ? smtp : pop3)(link, link->line);
    }
    if (length)
        body(link, data, length);
    if (!link->line_length) { /* an idle link shall be small */
        free(link->line);
        link->line = NULL;
    }
}

static void serve(struct link *link)
{
    for (int reads = 0; reads < READS; reads++) {
        ssize_t length = recv(link->fd, chunk, sizeof chunk, 0);
        if (length < 0 && errno == EAGAIN)
            return;
        if (length <= 0) {
            drop(link);
            return;
        }
        if (link->in_message)
            body(link, chunk, (size_t)length);
        else
            commands(link, chunk, (size_t)length);
        if ((said_length || link->mail) && flush(link) < 0) {
            drop(link);
            return;
        }
        if ((size_t)length < sizeof chunk)
            return;
    }
}

static struct link *watch(int fd, int protocol, int listens)
{
    struct link *link = calloc(1, sizeof *link);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = link};
    link->fd = fd;
    link->protocol = protocol;
    link->listens = listens;
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event))
        die("upstream: epoll_ctl");
    return link;
}

static void welcome(struct link *listener)
{
    int fd, yes = 1;
    while ((fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        struct link *link = watch(fd, listener->protocol, 0);
        say(GREETING[link->protocol]);
        if (flush(link) < 0)
            drop(link);
    }
}

static int open_port(const char *address, int protocol)
{
    struct sockaddr_in place = {.sin_family = AF_INET};
    socklen_t length = sizeof place;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (inet_pton(AF_INET, address, &place.sin_addr) != 1) {
        fprintf(stderr, "upstream: not an address: %s\n", address);
        exit(2);
    }
    if (bind(fd, (void *)&place, sizeof place) || listen(fd, 4096))
        die("upstream: bind");
    getsockname(fd, (void *)&place, &length);
    watch(fd, protocol, 1);
    return ntohs(place.sin_port);
}

int main(int count, char **words)
{
    struct epoll_event events[BATCH];
    if (count != 2) {
        fprintf(stderr, "usage: upstream ADDRESS\n");
        return 2;
    }
    raise_limit();
    fill(block, 0);
    poller = epoll_create1(EPOLL_CLOEXEC);
    printf("smtp %d ", open_port(words[1], SMTP));
    printf("pop3 %d\n", open_port(words[1], POP3));
    fflush(stdout);
    for (;;) {
        int ready = epoll_wait(poller, events, BATCH, -1);
        for (int i = 0; i < ready; i++) {
            struct link *link = events[i].data.ptr;
            if (link->listens)
                welcome(link);
            else if (events[i].events & EPOLLOUT && flush(link) < 0)
                drop(link);
            else if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                serve(link);
        }
    }
}
