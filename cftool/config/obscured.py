"""Reads the passwords of rclone's configuration, which stand there "obscured": AES-256 in counter mode, a public key.

It hides nothing from anybody and is no protection, which is why plain Python does: this is the one place where cftool
has a cipher, for texts of some bytes, once. FIPS 197; https://rclone.org/commands/rclone_obscure/.
"""

import base64
import binascii

# Published with rclone's source; the same in every copy of it.
_KEY = bytes.fromhex("9c935b48730a554d6bfd7c63c886a92bd390198eb8128afbf4de162b8b95f638")
_BLOCK = 16


def reveal(text: str) -> str:
    """The password. Raises ValueError where `text` is not obscured."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is not obscured") from None
    if len(data) < _BLOCK:
        raise ValueError("is not obscured")
    counter, rest = int.from_bytes(data[:_BLOCK], "big"), data[_BLOCK:]
    keys = _schedule(_KEY)
    found = bytearray()
    for at in range(0, len(rest), _BLOCK):
        pad = _encrypt(keys, (counter % (1 << 128)).to_bytes(_BLOCK, "big"))
        found += bytes(a ^ b for a, b in zip(rest[at : at + _BLOCK], pad, strict=False))
        counter += 1
    return found.decode("utf-8")


def _double(value: int) -> int:
    """Times x in GF(2^8)."""
    return ((value << 1) ^ (0x11B if value & 0x80 else 0)) & 0xFF


def _table() -> bytes:
    """The substitution: the inverse in GF(2^8), then an affine map."""
    powers, logs = [1] * 255, [0] * 256
    for exponent in range(1, 255):
        powers[exponent] = powers[exponent - 1] ^ _double(powers[exponent - 1])  # 3 generates the field
        logs[powers[exponent]] = exponent
    table = bytearray()
    for value in range(256):
        inverse = powers[-logs[value] % 255] if value else 0
        mixed = 0x63
        for turn in range(5):
            mixed ^= ((inverse << turn) | (inverse >> (8 - turn))) & 0xFF
        table.append(mixed)
    return bytes(table)


_SUBSTITUTES = _table()


def _schedule(key: bytes) -> list[bytes]:
    """The keys of the rounds."""
    words = [key[at : at + 4] for at in range(0, len(key), 4)]
    count, constant = len(words), 1
    for position in range(count, 4 * (count + 7)):
        word = words[-1]
        if position % count == 0:
            word = bytes(_SUBSTITUTES[byte] for byte in word[1:] + word[:1])
            word = bytes([word[0] ^ constant]) + word[1:]
            constant = _double(constant)
        elif position % count == 4 and count > 6:
            word = bytes(_SUBSTITUTES[byte] for byte in word)
        words.append(bytes(a ^ b for a, b in zip(words[-count], word, strict=True)))
    return [b"".join(words[at : at + 4]) for at in range(0, len(words), 4)]


def _encrypt(keys: list[bytes], block: bytes) -> bytes:
    """One block."""
    state = bytes(a ^ b for a, b in zip(block, keys[0], strict=True))
    for number, key in enumerate(keys[1:], 1):
        # Substitute, and turn row r by r places: byte r of column c comes from column c + r.
        moved = [_SUBSTITUTES[state[(4 * (column + row) + row) % 16]] for column in range(4) for row in range(4)]
        if number < len(keys) - 1:
            mixed = []
            for at in range(0, 16, 4):
                a, b, c, d = moved[at : at + 4]
                for w, x, y, z in ((a, b, c, d), (b, c, d, a), (c, d, a, b), (d, a, b, c)):
                    mixed.append(_double(w) ^ _double(x) ^ x ^ y ^ z)
            moved = mixed
        state = bytes(a ^ b for a, b in zip(moved, key, strict=True))
    return state
