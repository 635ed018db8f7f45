"""What the tests share, by what it is for.

Servers behind the gate, each private, on an address of its own (`ports`), in a folder of its own (`folder`), ended by
whoever started it (`process`):

    dovecot             a real POP3 server
    postfix             a real SMTP server that relays for loopback; `sink` is the strict recorder behind it
    exim sendmail opensmtpd aiosmtpd_house (with aiosmtpd_server, its program)
                        the lab's SMTP servers, of the shape in `house`, out of unpacked packages (`jail`)
    appliance           the demo's sample appliance in a thread: quick, for tests that need no real server
    legacy              an old server by script: says what a test tells it to, records every octet
    lax                 a model of a server that reads everything as loosely as any was seen to
    redis haproxy       a Redis, a HAProxy with the configuration as shipped
    pool                HAProxy, two nodes and a Redis as the README says
    systemd             what systemd does for a service: sd_notify, kept sockets
    machine network     a whole systemd in a namespace; clients, gate and appliance in network namespaces

popgate and its parts under test:

    popgate             the program with a configuration folder, a log and signals (end to end)
    site                answers for the status page's process
    office              a supervisor whose workers are socket pairs in the test's hand
    workshop            a loop, poller, deadlines and a kept log; peers moved by hand
    gate leg            on it: a link with both its ends and its store; a leg with an owner that remembers
    driver smtp echo    a session without sockets; past its EHLO; with a server that answers by an echo
    twins               two SMTP sessions, with and without the bulk path, told the same
    transcript play     dialogues as text: the format; playing them whole and in cuts
    configuration toml  small complete configurations; a dict as TOML
    clocks              a clock turned by hand; one question to a store
    reach               what an object of popgate holds on to: secrets, memory
    figures             metrics of a board, samples of an exposition
    selftest            what the self-test finds at a scripted server

Clients:

    dialogue talk       a raw client, exact octets; the same in an asyncio loop
    clients             curl, swaks, msmtp, fetchmail, ...: programs that others wrote
    whoson              whoson as other programs speak it
    keyupdate           a TLS 1.3 client that changes its keys as often as it likes
    browser             Chromium without a window, for the status page
    load steady         many clients on a pool; clients without a break
    vitals              an honest user during an attack, and the gate's memory, descriptors and CPU

Attacks:

    smuggling           known attacks by their numbers in docs/threats.md
    attack              attackers by the dozen: crowds, crawls, floods
    game popgame storm  SMTP and POP3 sessions against lax servers, judged by a model; at random
    careless naive      proxies that must be breached: the positive control
    dots                what wire/dots.py forwards, slow and plain: the reference
    probes              nmap, testssl.sh and others, and how to read them

The machine: `needs` (what is missing skips or fails), `sockets` (the kernel's own list), `nobody` (a program that has
left root), `process`, `ports`, `folder`.

Nothing here sleeps to wait for a state: it waits for a line of output, an octet or an end of file, with a deadline
after which it shows what it saw.
"""
