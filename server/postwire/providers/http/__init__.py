"""Vendors that are called over HTTP: what each of them is sent and what its answers mean, and one sender for all.

A vendor is two pure functions and a table of codes, in one file, with nothing of transport: see `vendor.HttpVendor`.
"""
