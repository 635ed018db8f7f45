/*
 * The dialogue that load.c plays, from the words of its command line; one word a step:
 *
 *   >TEXT    sends TEXT and CRLF; in TEXT "|" stands for CRLF
 *   <N       waits for N replies, SMTP or POP3; 4xx, 5xx and -ERR are a failure
 *   *N       sends a message of N octets (whole lines, like base64) and the final dot
 *   .N       the same, as text with full stops, some lines beginning with two of them
 *   @N       waits for a message of at least N octets, to its final dot
 *   ~N       goes back N steps until the time is over; what is told are then these round trips (latency)
 *   !        stays as it is: when all sessions have come here, prints "held N" and waits for the end of its
 *            standard input
 */
#include "both.h"

enum { STEPS = 64 };

struct step {
    char kind;
    char *text;        /* of > */
    size_t length;     /* octets of > and of a message with its end; replies of <; steps of ~ */
    const char *block; /* of a message */
    char *ending;      /* its last, partial block with the final dot */
    size_t whole;      /* octets before that */
};

static struct step steps[STEPS];
static int step_count;

static void message(struct step *step, size_t size, int text)
{
    char *block = malloc(BLOCK);
    fill(block, text);
    size -= size % WIDTH;
    step->whole = size - size % BLOCK;
    step->length = size + 3;
    step->block = block;
    step->ending = malloc(size % BLOCK + 3);
    memcpy(step->ending, block, size % BLOCK);
    memcpy(step->ending + size % BLOCK, ".\r\n", 3);
}

static void add(const char *word)
{
    struct step *step = &steps[step_count++];
    if (step_count == STEPS - 2) {
        fprintf(stderr, "load: too many steps\n");
        exit(2);
    }
    step->kind = word[0];
    step->length = strtoul(word + 1, NULL, 10);
    if (word[0] == '>') {
        char *to = step->text = malloc(2 * strlen(word) + 2);
        while (*++word)
            to = *word == '|' ? mempcpy(to, "\r\n", 2) : mempcpy(to, word, 1);
        step->length = (size_t)((char *)mempcpy(to, "\r\n", 2) - step->text);
    } else if (word[0] == '*' || word[0] == '.')
        message(step, step->length, word[0] == '.');
    else if (!strchr("<@~!", word[0])) {
        fprintf(stderr, "load: no such step: %s\n", word);
        exit(2);
    }
}
