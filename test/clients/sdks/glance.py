#!/usr/bin/python3
"""python-glanceclient as a new user has it: an image is made, filled, changed and deleted, and definitions of metadata.

It checks with the service's schemas whatever it sends, and reads the errors. Takes the cloud from OS_* in the environment.
Says each thing that it has done; fails loudly.
"""
import io
import os

from glanceclient import client, exc
from keystoneauth1 import loading, session


def connect():
    loader = loading.get_plugin_loader("password")
    names = ("auth_url", "username", "password", "project_name", "user_domain_name", "project_domain_name")
    auth = loader.load_from_options(**{name: os.environ["OS_" + name.upper()] for name in names})
    return client.Client("2", session=session.Session(auth=auth), region_name=os.environ["OS_REGION_NAME"])


def say(what):
    print(what, flush=True)


def refused(error, work):
    try:
        work()
    except error as seen:
        say(f"refused: {seen}")
    else:
        raise AssertionError(f"no {error.__name__}")


def main():
    glance = connect()
    image = glance.images.create(name="glance", disk_format="raw", container_format="bare", colour="blue")
    glance.images.upload(image.id, io.BytesIO(b"x" * 1024))
    assert glance.images.get(image.id).status == "active"
    refused(exc.HTTPConflict, lambda: glance.images.upload(image.id, io.BytesIO(b"y")))
    changed = glance.images.update(image.id, remove_props=["colour"], name="other", min_ram=64)
    assert (changed.name, changed.min_ram, changed.get("colour")) == ("other", 64, None)
    glance.image_tags.update(image.id, "tag")
    assert [each.id for each in glance.images.list(filters={"tag": ["tag"]})] == [image.id]
    say(f"image {changed.name} of {changed.size} bytes")
    glance.images.delete(image.id)
    refused(exc.HTTPNotFound, lambda: glance.images.get(image.id))

    name = "glanceclient"
    glance.metadefs_namespace.create(namespace=name)
    assert glance.metadefs_namespace.update(name, display_name="Words").display_name == "Words"
    glance.metadefs_object.create(name, name="object", description="things")
    glance.metadefs_property.create(name, name="property", title="Property", type="string")
    glance.metadefs_tag.create(name, "tag")
    glance.metadefs_resource_type.associate(name, name="OS::Nova::Flavor")
    say(f"namespace {glance.metadefs_namespace.get(name).namespace}")
    glance.metadefs_namespace.delete(name)


main()
