# What an operator makes for a new tenant: the project, somebody who works in it, room, and a flavor of its own.
terraform {
  required_providers {
    openstack = { source = "terraform-provider-openstack/openstack" }
  }
}

provider "openstack" {}

variable "password" { type = string }

variable "instances" {
  type    = number
  default = 8
}

data "openstack_identity_role_v3" "member" {
  name = "member"
}

resource "openstack_identity_project_v3" "shop" {
  name        = "shop"
  description = "The web shop"
}

resource "openstack_identity_user_v3" "alice" {
  name               = "alice"
  default_project_id = openstack_identity_project_v3.shop.id
  password           = var.password

  ignore_change_password_upon_first_use = true
}

resource "openstack_identity_role_assignment_v3" "alice" {
  user_id    = openstack_identity_user_v3.alice.id
  project_id = openstack_identity_project_v3.shop.id
  role_id    = data.openstack_identity_role_v3.member.id
}

resource "openstack_compute_flavor_v2" "shop" {
  name      = "shop.large"
  ram       = 512
  vcpus     = 2
  disk      = 2
  is_public = false

  extra_specs = {
    "hw:cpu_policy" = "shared"
  }
}

resource "openstack_compute_flavor_access_v2" "shop" {
  flavor_id = openstack_compute_flavor_v2.shop.id
  tenant_id = openstack_identity_project_v3.shop.id
}

resource "openstack_compute_quotaset_v2" "shop" {
  project_id = openstack_identity_project_v3.shop.id
  instances  = var.instances
  cores      = 16
}

resource "openstack_blockstorage_quotaset_v3" "shop" {
  project_id = openstack_identity_project_v3.shop.id
  volumes    = 12
  snapshots  = 12
  gigabytes  = 100
  # The provider writes 0 for what is not said.
  per_volume_gigabytes = -1
}

resource "openstack_networking_quota_v2" "shop" {
  project_id = openstack_identity_project_v3.shop.id
  port       = 50
  floatingip = 5
}

resource "openstack_blockstorage_volume_type_v3" "shop" {
  name        = "shop"
  description = "What the web shop is kept on"
}

resource "openstack_compute_aggregate_v2" "shop" {
  name = "shop"
  metadata = {
    tenant = "shop"
  }
}
