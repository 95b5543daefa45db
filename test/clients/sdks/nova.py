#!/usr/bin/python3
"""python-novaclient as a new user has it: a server is made, moved to another flavor and back, and deleted.

Takes the cloud from OS_* in the environment. Says each thing that it has done; fails loudly.
"""
import os
import time

from keystoneauth1 import loading, session
from novaclient import client, exceptions

LIMIT_S = 60


def connect():
    loader = loading.get_plugin_loader("password")
    names = ("auth_url", "username", "password", "project_name", "user_domain_name", "project_domain_name")
    auth = loader.load_from_options(**{name: os.environ["OS_" + name.upper()] for name in names})
    return client.Client("2.79", session=session.Session(auth=auth), region_name=os.environ["OS_REGION_NAME"])


def say(what):
    print(what, flush=True)


def until(nova, server, status):
    deadline = time.monotonic() + LIMIT_S
    while True:
        found = nova.servers.get(server)
        if found.status == status:
            return found
        assert found.status != "ERROR", found.fault
        assert time.monotonic() < deadline, f"it is {found.status}"
        time.sleep(0.2)


def main():
    nova = connect()
    small, large = sorted(nova.flavors.list(), key=lambda flavor: flavor.ram)[:2]
    image = next(iter(nova.glance.list()))
    network = nova.neutron.find_network("shared")
    server = nova.servers.create("nova", image, small, nics=[{"net-id": network.id}], tags=["novaclient"])
    server = until(nova, server, "ACTIVE")
    say(f"server {server.status} on {getattr(server, 'OS-EXT-SRV-ATTR:host')}")

    nova.servers.resize(server, large)
    moved = until(nova, server, "VERIFY_RESIZE")
    say(f"resized to {moved.flavor['original_name']} on {getattr(moved, 'OS-EXT-SRV-ATTR:host')}")
    nova.servers.revert_resize(server)
    back = until(nova, server, "ACTIVE")
    assert getattr(back, "OS-EXT-SRV-ATTR:host") == getattr(server, "OS-EXT-SRV-ATTR:host")
    assert back.flavor["original_name"] == small.name
    say("reverted")
    say(f"actions {sorted(each.action for each in nova.instance_action.list(server))}")
    say(f"migrations {[each.status for each in nova.migrations.list(instance_uuid=server.id)]}")

    nova.servers.lock(server, reason="looked at")
    assert nova.servers.get(server).locked_reason == "looked at"
    nova.servers.unlock(server)
    say(f"console {nova.servers.get_serial_console(server, 'serial')['remote_console']['type']}")

    nova.servers.delete(server)
    deadline = time.monotonic() + LIMIT_S
    try:
        while time.monotonic() < deadline:
            nova.servers.get(server)
            time.sleep(0.2)
        raise AssertionError("it is still there")
    except exceptions.NotFound:
        say("it is gone")


main()
