"""Remember facts, find them again after a restart, change one, and look at its history."""

from memos_core import MOS, F

with MOS.open("./example-memory", embedder="hashing") as mos:
    alice = mos.session("alice")
    added = alice.add("I moved to Lisbon in May.", tags=["home"])
    alice.add("Rex, my terrier, is three years old.", tags=["pets"])

with MOS.open("./example-memory") as mos:  # the store remembers its embedder
    alice = mos.session("alice")
    for hit in alice.search("which city did I move to?", top_k=2):
        print(f"{hit.score:.2f}  {hit.text}")

    alice.update(added.id, text="I moved to Porto in June.")
    for version in alice.history(added.id):
        print(version.version, version.op, version.item.text if version.item else "")

    print([item.text for item in alice.list(where=F.tags.contains("pets"))])
