"""What each call of the store costs Redis, on fleets from 8 slots to a thousand."""
