"""What the tests of crash points share: a remote and the state of one machine, begun anew for each death."""

import os
import shutil
from contextlib import contextmanager


class World:
    """A remote that is a real directory, and what one machine keeps; subclasses say what is opened over them."""

    def __init__(self, base):
        self.base = base
        self.root, self.state, self._mark = (os.path.join(base, name) for name in ("remote", "state", "mark"))

    def open(self):
        raise NotImplementedError

    def reset(self, prepare):
        for path in (self.root, self.state):
            shutil.rmtree(path, ignore_errors=True)
        if os.path.exists(self._mark):
            os.unlink(self._mark)
        os.mkdir(self.root)
        store = self.open()
        prepare(store)
        store.close()

    def counted(self, transaction):
        """`transaction`, a context manager of one object, with a call before and one behind, at which one can die."""

        @contextmanager
        def counted(of):
            self.call()
            with transaction(of) as db:
                yield db
            self.call()

        return counted

    def call(self):
        """A system call that changes nothing."""
        os.chmod(self.base, 0o700)

    def returned(self):
        """In the child: the operation is acknowledged."""
        os.close(os.open(self._mark, os.O_CREAT | os.O_WRONLY, 0o600))

    @property
    def acknowledged(self):
        return os.path.exists(self._mark)
