"""What can go wrong with a request, for the fault proxy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from exchange import Answer, Exchange, Fault
from httpwire import response

PATIENCE = 40.0
"""Seconds after which a silent or slow answer ends in a reset, so that no test waits for ever."""

PAGE = b"<!DOCTYPE html><html><title>Welcome</title><h1>Please accept our terms to go online</h1></html>"


def answer(status: int, *fields: tuple[str, str], after: int | None = None) -> Fault:
    """This status in place of what the registry would say, when the body of the request is in, or ``after`` bytes of it."""

    async def act(exchange: Exchange) -> None:
        came, whole = 0, True
        async for block in exchange.body():
            came += len(block)
            if after is not None and came >= after:
                whole = False
                break
        extra = fields if whole else (*fields, ("Connection", "close"))
        await exchange.reply(Answer(response(status, ("Content-Length", "0"), *extra), _blocks()))

    return Fault(f"{status}" if after is None else f"{status} after {after} bytes", act)


def unauthorized(after: int | None = None) -> Fault:
    return answer(401, ("WWW-Authenticate", 'Basic realm="fault"'), after=after)


def busy(seconds: int = 0) -> Fault:
    return answer(429, ("Retry-After", str(seconds)))


def reset() -> Fault:
    """The connection breaks, and the registry never hears of the request."""

    async def act(exchange: Exchange) -> None:
        exchange.client.reset()

    return Fault("reset", act)


def reset_within_request(after: int | None = None) -> Fault:
    """The connection breaks when half of the request's body has gone to the registry, or ``after`` bytes of it."""

    async def act(exchange: Exchange) -> None:
        if not exchange.has_body:
            await exchange.spare()
            return
        left = after if after is not None else int(exchange.request.get("Content-Length") or 2) // 2
        _, writer = await exchange.connect()
        writer.write(exchange.request.encode())
        async for block in exchange.body():
            writer.write(exchange.framed(block[:left]))
            await writer.drain()
            left -= len(block)
            if left <= 0:
                break
        writer.transport.abort()
        exchange.client.reset()

    return Fault("reset within the request", act)


def lost_reply() -> Fault:
    """The registry has done what was asked, and nobody hears of it."""

    async def act(exchange: Exchange) -> None:
        await (await exchange.ask()).read()
        exchange.client.reset()

    return Fault("lost reply", act)


def reset_within_reply(after: int | None = None) -> Fault:
    """The connection breaks when half of the answer has come, or ``after`` bytes of its body."""

    async def act(exchange: Exchange) -> None:
        found = await exchange.ask()
        head, body = found.head.encode(), await found.read()
        if body:
            await exchange.begin(found.head)
            await exchange.client.write(body[: len(body) // 2 if after is None else after])
        else:
            await exchange.client.write(head[: len(head) // 2])
        exchange.client.reset()

    return Fault("reset within the reply", act)


def silence() -> Fault:
    """The request is taken, and no answer comes, while the connection stays open."""

    async def act(exchange: Exchange) -> None:
        async for _ in exchange.body():
            pass
        await exchange.client.gone(PATIENCE)
        exchange.client.reset()

    return Fault("silence", act)


def stall() -> Fault:
    """Half of the answer's body comes, then nothing more."""

    async def act(exchange: Exchange) -> None:
        found = await exchange.ask()
        body = await found.read()
        if not body:
            exchange.record.fault = ""
            await exchange.reply(Answer(found.head, _blocks()))
            return
        await exchange.begin(found.head)
        await exchange.client.write(body[: len(body) // 2])
        await exchange.client.gone(PATIENCE)
        exchange.client.reset()

    return Fault("stall", act)


def trickle(interval: float = 1.0) -> Fault:
    """The answer's body comes byte by byte."""

    async def act(exchange: Exchange) -> None:
        found = await exchange.ask()
        body = await found.read()
        await exchange.begin(found.head)
        for number, byte in enumerate(body):
            await exchange.client.write(bytes([byte]))
            await asyncio.sleep(interval)
            if (number + 1) * interval > PATIENCE:
                exchange.client.reset()

    return Fault("trickle", act)


def changed(name: str, change: Callable[[Answer, bytes], tuple[bytes, bool] | None]) -> Fault:
    """The answer with another head or body; ``change`` gives the body, and whether the connection ends after it."""

    async def act(exchange: Exchange) -> None:
        found = await exchange.ask()
        body = await found.read()
        outcome = change(found, body) if found.head.status < 300 else None
        exchange.record.fault = name if outcome else ""
        data, ends = outcome or (body, False)
        await exchange.reply(Answer(found.head, _blocks(b"" if exchange.request.method == "HEAD" else data)))
        if ends:
            await exchange.client.finish()

    return Fault(name, act)


def wrong_length(more: int) -> Fault:
    """A ``Content-Length`` that is larger than the body, or smaller."""

    def change(found: Answer, body: bytes) -> tuple[bytes, bool] | None:
        if len(body) + more <= 0 or not body or found.head.is_chunked:
            return None
        found.head.put("Content-Length", str(len(body) + more))
        return body, True

    return changed(f"length {more:+}", change)


def other_size(more: int) -> Fault:
    """A body that is longer than it should be, or shorter, and says so."""

    def change(found: Answer, body: bytes) -> tuple[bytes, bool] | None:
        if len(body) + more <= 0 or not body or found.head.is_chunked:
            return None
        body = body + bytes(more) if more > 0 else body[:more]
        found.head.put("Content-Length", str(len(body)))
        return body, False

    return changed(f"size {more:+}", change)


def flip() -> Fault:
    """One bit in the middle of the body is another."""

    def change(found: Answer, body: bytes) -> tuple[bytes, bool] | None:
        del found
        middle = len(body) // 2
        return (body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :], False) if body else None

    return changed("flipped bit", change)


def page() -> Fault:
    """The login page of some hotel, with 200; the registry never hears of the request."""

    async def act(exchange: Exchange) -> None:
        async for _ in exchange.body():
            pass
        head = response(200, ("Content-Type", "text/html"), ("Content-Length", str(len(PAGE))))
        await exchange.reply(Answer(head, _blocks(b"" if exchange.request.method == "HEAD" else PAGE)))

    return Fault("page", act)


def whole() -> Fault:
    """All of a blob, with 200, for a request that asked for a part."""

    async def act(exchange: Exchange) -> None:
        if not exchange.request.get("Range"):
            await exchange.spare()
            return
        exchange.request.drop("Range")
        await exchange.pass_on()

    return Fault("200 for a range", act)


def other_range() -> Fault:
    """A range that begins one byte further on than it says."""

    def change(found: Answer, body: bytes) -> tuple[bytes, bool] | None:
        kind, _, place = found.head.get("Content-Range").partition(" ")
        if not place:
            return None
        first, _, rest = place.partition("-")
        found.head.put("Content-Range", f"{kind} {int(first) + 1}-{rest}")
        return body, False

    return changed("wrong range", change)


def redirect(address: str) -> Fault:
    """307 to the same path of another host."""

    async def act(exchange: Exchange) -> None:
        if exchange.request.method != "GET":
            await exchange.spare()
            return
        location = f"http://{address}{exchange.request.path}"
        await exchange.reply(Answer(response(307, ("Location", location), ("Content-Length", "0")), _blocks()))

    return Fault("redirect", act)


async def _blocks(*data: bytes) -> AsyncIterator[bytes]:
    for block in data:
        if block:
            yield block
