"""All that is in a Redis, as one text."""

from __future__ import annotations

from redis import Redis


def dump(redis: Redis) -> str:
    """Return every key and value; a key that expires meanwhile is left out."""
    parts: list[str] = []
    for key in sorted(redis.keys("*")):
        kind = redis.type(key).decode()
        values = {
            "none": lambda k: None,
            "string": lambda k: redis.get(k),
            "hash": lambda k: redis.hgetall(k),
            "list": lambda k: redis.lrange(k, 0, -1),
            "set": lambda k: redis.smembers(k),
            "zset": lambda k: redis.zrange(k, 0, -1, withscores=True),
            "stream": lambda k: redis.xrange(k),
        }
        parts.append(f"{key!r} {values[kind](key)!r}")
    return "\n".join(parts)
