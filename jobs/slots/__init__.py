"""Slots: places that run one job at a time, their hosts and the models in their memory."""
