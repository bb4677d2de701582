"""Administration: who may look at sessions and connections, end and close them, and what each call answers.

access       who may, and the form of all answers
audit        what was done, and by whom
refusals     who was not let in
desk         what is kept for those who look: lives, watchers, refusals, numbers
choice       which sessions are meant
progress     how far an end in steps has come
views        sessions and connections as JSON
sessions, connections, message, stats, events, page    the calls, one noun each
"""
