"""The kinds of jobs that memos brings, one file each."""
