"""Several processes behind one port.

parent.py          starts the workers, passes on signals, restarts them in turn
place.py           one of the places for workers: its sockets, and a worker in it, come what may
delay.py           how long a dead worker's place stays empty
worker_process.py  a worker, as its parent sees it
worker.py          a worker's own side
"""
