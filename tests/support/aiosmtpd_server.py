"""An aiosmtpd server as a program, `python -P aiosmtpd_server.py HOST PORT`, run by aiosmtpd_house.py.

-P, because this folder has modules with the names of libraries.

Takes everything from everyone and writes each message as a line of JSON.  Runs with the aiosmtpd that PYTHONPATH
names: it is kept apart from the tests' own packages, in two versions.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from typing import Any

from aiosmtpd.smtp import SMTP  # type: ignore[import-not-found,unused-ignore]

_numbers = itertools.count(1)


class Handler:
    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        number = next(_numbers)
        content: bytes = envelope.original_content
        arrived = [envelope.mail_from or "", envelope.rcpt_tos, content.decode("latin-1"), number]
        print(json.dumps(arrived), flush=True)
        return f"250 OK queued as {number}"


async def main(host: str, port: int) -> None:
    def protocol() -> SMTP:
        return SMTP(Handler(), hostname="aiosmtpd.local.test", enable_SMTPUTF8=True, data_size_limit=None)

    server = await asyncio.get_running_loop().create_server(protocol, host, port)
    print("serving", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
