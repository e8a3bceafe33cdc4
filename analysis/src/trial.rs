//! A trial: one set of analysis parameters with a number, typed, checked whole, never changed once used.
