"""Administration: who may look at sessions and connections, end and close them, and what each call answers.

access       who may, and the form of all answers
audit        what was done, and by whom
desk         what is kept for those who look: histories, watchers, numbers
choice       which sessions are meant
views        sessions and connections as JSON
sessions, connections, broadcast, stats, events, page    the calls, one noun each
"""
