"""The program in the guest: joins, fetches its configuration, applies it, reports. Standard library, Python >= 3.8.

It is packed into one zipapp under another package name, so its modules import each other relatively and nothing else.
"""
