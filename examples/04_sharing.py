"""Two people, a cube they share, and one that nobody else sees."""

from memos_core import MOS
from memos_core.errors import CubeNotFound

with MOS.open(":memory:", embedder="hashing") as mos:
    mos.create_cube("kitchen", owner="alice")
    mos.share("kitchen", with_="bob", rights="write")

    alice = mos.session("alice", write_to=["kitchen"], read_from=["alice", "kitchen"])
    alice.add("The oven runs ten degrees too hot.")
    mos.session("alice").add("I am planning a surprise for Bob.")

    bob = mos.session("bob", read_from=["bob", "kitchen"])
    print([hit.text for hit in bob.search("is there anything about the oven or a surprise?")])
    try:
        mos.session("bob", read_from=["alice"])
    except CubeNotFound as error:
        print(error)
