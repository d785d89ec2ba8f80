"""How an integer graph becomes processes joined by streams: folding and FIFO depths, beside the graph, never
inside it.
"""
