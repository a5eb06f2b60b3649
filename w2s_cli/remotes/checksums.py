"""The checksums by which object stores prove that they hold a file, so that nothing is read back.

* S3: the MD5 as ETag, of the file or of the MD5s of its parts. GS: md5Hash. The hub: the sha256 of a large file, git's id of another.
* A store without one of them (an encrypted bucket of S3) proves nothing; the file is then read back.
"""

import base64
import hashlib
import math
from collections.abc import Mapping
from typing import Any

PART = 50 << 20  # bytes of a part of an upload to S3, as s3fs cuts it


class Sums:
    """The checksums of some bytes that stores keep."""

    def __init__(self, size: int, part: int = PART) -> None:
        """Of `size` bytes, none of them read yet."""
        self.sha256, self.md5, self.size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
        self.blob = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)  # as git names the bytes of a file
        self.part, self.parts = part, [hashlib.md5(usedforsecurity=False)]

    @classmethod
    def of(cls, content: bytes) -> "Sums":
        """Of bytes in memory."""
        sums = cls(len(content))
        sums.add(content)
        return sums

    def add(self, piece: bytes) -> None:
        """Go on with the next bytes."""
        self.sha256.update(piece)
        self.md5.update(piece)
        self.blob.update(piece)
        while piece:
            room = self.part - self.size % self.part
            if self.size and room == self.part:
                self.parts.append(hashlib.md5(usedforsecurity=False))
            self.parts[-1].update(piece[:room])
            self.size += len(piece[:room])
            piece = piece[room:]

    def proved_by(self, facts: Mapping[str, Any]) -> bool:
        """Whether a store's facts about a file prove that it holds these bytes; without a proof nothing is known."""
        joined = hashlib.md5(b"".join(part.digest() for part in self.parts), usedforsecurity=False).hexdigest()
        etags = (self.md5.hexdigest(), f"{joined}-{math.ceil(self.size / self.part)}")
        lfs = facts.get("lfs")
        return (
            str(facts.get("ETag", "")).strip('"') in etags
            or facts.get("md5Hash") == base64.b64encode(self.md5.digest()).decode()
            or facts.get("blob_id") == self.blob.hexdigest()
            or (isinstance(lfs, Mapping) and lfs.get("sha256") == self.sha256.hexdigest())
        )
