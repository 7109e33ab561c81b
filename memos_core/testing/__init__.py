"""Contract suites that ship with memos, so that other people's backends can run them too.

A suite is a class of tests. Subclass it in your test file, say how to make what is tested, and pytest runs the promises::

    class TestMyStore(RecordStoreContract):
        def make_store(self, folder):
            return MyStore(folder)

A test that your backend cannot pass may only be opted out with `@pytest.mark.xfail(reason=...)`.
"""
