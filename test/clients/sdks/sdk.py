#!/usr/bin/python3
"""openstacksdk as a new user has it: a server, its volume and its port, moved to another flavor and back out of the way.

Takes the cloud from OS_* in the environment. Says each thing that it has done; fails loudly.
"""
import openstack

cloud = openstack.connect()


def say(what):
    print(what, flush=True)


def main():
    image = next(cloud.image.images(status="active"))
    network = cloud.network.find_network("shared")
    small, large = sorted(cloud.compute.flavors(), key=lambda flavor: flavor.ram)[:2]
    say(f"image {image.name}, network {network.name}, flavors {small.name} and {large.name}")

    keypair = cloud.compute.create_keypair(name="sdk")
    server = cloud.compute.create_server(
        name="sdk",
        image_id=image.id,
        flavor_id=small.id,
        networks=[{"uuid": network.id}],
        key_name=keypair.name,
        metadata={"made": "by openstacksdk"},
    )
    server = cloud.compute.wait_for_server(server)
    assert server.id in [each.id for each in cloud.compute.servers(name="sdk")]
    port = next(cloud.network.ports(device_id=server.id))
    say(f"server {server.status} with {port.fixed_ips[0]['ip_address']}")

    volume = cloud.create_volume(size=1, name="sdk", wait=True)
    cloud.attach_volume(server, volume, wait=True)
    say(f"volume {cloud.block_storage.get_volume(volume.id).status}")

    before = cloud.compute.get_server(server.id).hypervisor_hostname
    cloud.compute.resize_server(server, large.id)
    server = cloud.compute.wait_for_server(server, status="VERIFY_RESIZE")
    after = cloud.compute.get_server(server.id).hypervisor_hostname
    assert before != after, "it has stayed where it was"
    cloud.compute.confirm_server_resize(server)
    server = cloud.compute.wait_for_server(server, status="ACTIVE")
    say(f"resized to {server.flavor['original_name']} from {before} to {after}")

    console = cloud.compute.create_console(server, console_type="novnc")
    say(f"console {console['url'].split('?')[0]}")

    cloud.detach_volume(server, cloud.get_volume(volume.id), wait=True)
    cloud.compute.delete_server(server)
    cloud.compute.wait_for_delete(server)
    cloud.delete_volume(volume.id, wait=True)
    cloud.compute.delete_keypair(keypair)
    say("all of it is gone")


main()
