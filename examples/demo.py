"""The main job, on real text: `make demo`.

Builds a memory out of the descriptions of the packages that are installed beside it, and a conversation over two sessions
with a restart between; asks both, edits one memory, and lets a LangChain chain and a LlamaIndex agent remember.
"""

from __future__ import annotations

import asyncio
import shutil
import time
import warnings
from importlib import metadata
from pathlib import Path

from langchain_classic.chains import ConversationChain
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.memory import InsertMethod, Memory
from parrots import LangChainParrot, LlamaIndexParrot
from rich.console import Console
from rich.progress import track
from rich.table import Table

from memos_core import MOS, Document, F, Hits, Session
from memos_core.errors import InvalidText
from memos_langchain import MemosMemory
from memos_llamaindex import MemosMemoryBlock

FOLDER = Path(__file__).resolve().parent.parent / ".demo"
LONGEST = 1500  # characters of a description that are read
MONDAY = [
    ("Mara", "2024-05-06T09:00:00Z", "Hi! I moved to Lisbon last week, the flat is in Alfama."),
    ("assistant", "2024-05-06T09:00:30Z", "Congratulations! How is the neighbourhood?"),
    ("Mara", "2024-05-06T09:01:00Z", "Loud but lovely. My dog Rex hates the trams, though."),
    ("assistant", "2024-05-06T09:01:30Z", "Poor Rex! Is he getting used to them?"),
    (
        "Mara",
        "2024-05-06T09:02:00Z",
        "Slowly. By the way, I can't eat gluten any more, doctor's orders since yesterday.",
    ),
]
FRIDAY = [
    ("Mara", "2024-05-10T18:00:00Z", "I start at the aquarium on Monday, feeding the penguins!"),
    ("assistant", "2024-05-10T18:00:20Z", "What a job! Full time?"),
    ("Mara", "2024-05-10T18:01:00Z", "Three days a week. The other two I finish my thesis on jellyfish."),
]
ABOUT_MARA = [
    "Where does Mara live?",
    "What should I not put into a cake for her?",
    "What did she say about her pet?",
    "What happened in the week of 6 May 2024?",
]
ABOUT_PACKAGES = [
    "validate JSON fast",
    "a library for terminal output with colours and tables",
    "turn words into their stems",
    "how are SQL statements built from Python objects?",
]
console = Console()


def messages(turns: list[tuple[str, str, str]]) -> list[dict[str, str]]:
    """Turns as chat messages."""
    return [
        {"role": "assistant" if who == "assistant" else "user", "speaker": who, "at": at, "content": words}
        for who, at, words in turns
    ]


def packages() -> list[Document]:
    """The descriptions of all packages installed here."""
    found = {}
    for distribution in metadata.distributions():
        name, text = distribution.metadata["Name"], distribution.metadata.get_payload()
        text = str(text or distribution.metadata.get("Description") or "")
        summary = distribution.metadata.get("Summary") or ""
        found[name] = Document(uri=f"pypi:{name}", title=name, format="markdown", text=f"{summary}\n\n{text}"[:LONGEST])
    return [found[name] for name in sorted(found)]


def show(question: str, hits: Hits) -> None:
    """A question with its best hits and what found them."""
    table = Table(title=question, title_justify="left", title_style="bold", expand=True)
    table.add_column("score", width=5)
    table.add_column("memory", ratio=5)
    table.add_column("from", ratio=2)
    table.add_column("found by", ratio=3)
    for hit in hits:
        source = hit.item.provenance.source
        words = " ".join(hit.text.split())
        best = sorted(hit.parts.items(), key=lambda part: -part[1])[:3]
        table.add_row(
            f"{hit.score:.2f}",
            words if len(words) < 160 else words[:157] + "...",
            (source.uri if source and source.uri else hit.item.speaker) or "",
            ", ".join(f"{name} {value:.2f}" for name, value in best if value > 0),
        )
    console.print(table)


def ask(session: Session, questions: list[str]) -> None:
    """Ask and show."""
    for question in questions:
        show(question, session.search(question, top_k=3, min_score=0.05))


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    start = time.perf_counter()
    console.rule("Monday: a conversation, and what is known about the packages here")
    with MOS.open(FOLDER, embedder="minilm") as mos:
        mos.session("mara", conversation="monday").add(messages(MONDAY))
        library = mos.session("librarian")
        for document in track(packages(), "reading packages", console=console):
            try:
                library.add(document)
            except InvalidText:
                continue  # a package without any description
        mos.share("librarian", with_="*")
        console.print(f"{len(library.list(limit=10_000))} pieces of {len(packages())} packages in memory")

    console.rule("Friday: opened again")
    with MOS.open(FOLDER) as mos:
        mara = mos.session("mara", conversation="friday")
        mara.add(messages(FRIDAY))
        ask(mara, ABOUT_MARA)
        both = mos.session("mara", read_from=["mara", "librarian"])
        ask(both, ABOUT_PACKAGES)

        console.rule("One memory is corrected; what it said before stays in its history")
        [days] = mara.list(where=F.text.contains("Three days a week"))
        mara.update(days.id, text="Four days a week. The fifth I finish my thesis on jellyfish.")
        for version in mara.history(days.id):
            console.print(
                version.version,
                version.op,
                version.at.isoformat(timespec="seconds"),
                version.item and version.item.text,
            )
        show("How many days a week does Mara work?", mara.search("How many days a week does Mara work?", top_k=1))

    console.rule("A LangChain chain and a LlamaIndex agent, each in a new process's place: opened again")
    with MOS.open(FOLDER) as mos, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LangChain calls its own chain deprecated
        chain = ConversationChain(
            llm=LangChainParrot(), memory=MemosMemory(session=mos.session("mara", conversation="chain"), k=1)
        )
        console.print("chain:", chain.invoke({"input": "What can I not eat?"})["response"])
    with MOS.open(FOLDER) as mos:
        console.print("agent:", asyncio.run(agent(mos.session("mara"), "Which animals do I feed at work?")))
        console.print("verify:", mos.verify() or "everything as it should be")
    console.print(f"{time.perf_counter() - start:.0f} seconds")


async def agent(session: Session, question: str) -> str:
    """One run of an agent whose memory is the session's."""
    memory = Memory.from_defaults(
        session_id="agent",
        memory_blocks=[MemosMemoryBlock(session=session, max_tokens=60)],
        insert_method=InsertMethod.USER,
    )
    return str(await FunctionAgent(llm=LlamaIndexParrot(), tools=[]).run(question, memory=memory))


if __name__ == "__main__":
    main()
