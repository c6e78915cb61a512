//! No space, at every step of a life: puts wait or are refused, everything else goes on.
