"""A LangChain chain that remembers across conversations and restarts. The model is scripted: it repeats what it was shown."""

from langchain_classic.chains import ConversationChain
from parrots import LangChainParrot

from memos_core import MOS
from memos_langchain import MemosMemory

for conversation, said in (("monday", "My sister Nora can't eat gluten."), ("friday", "What can Nora not eat?")):
    with MOS.open("./chain-memory", embedder="hashing") as mos:  # closed and opened again: a restart
        memory = MemosMemory(session=mos.session("alice", conversation=conversation))
        chain = ConversationChain(llm=LangChainParrot(), memory=memory)
        print(f"{conversation}: {said}\n  -> {chain.invoke({'input': said})['response']}")
