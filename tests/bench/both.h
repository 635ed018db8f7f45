/*
 * What both ends of the benchmark share: the text of its messages, and many descriptors.
 *
 * A message is lines of WIDTH octets with their CRLF, as many as are wanted, since one block is sent again and again.
 */
enum { WIDTH = 78, BLOCK = WIDTH * 3360 };

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* Letters that look like base64; or text with full stops, every tenth line beginning with two (RFC 5321 4.5.2). */
static void fill(char *block, int text)
{
    for (size_t at = 0; at < BLOCK; at++) {
        size_t column = at % WIDTH, line = at / WIDTH;
        block[at] = column == WIDTH - 2 ? '\r' : column == WIDTH - 1 ? '\n' : (char)('A' + at * 7 % 26);
        if (text && (column == 40 || (line % 10 == 0 && column < 2)))
            block[at] = '.';
    }
}

static void raise_limit(void)
{
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
}
