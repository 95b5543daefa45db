# The database of tenant/ as somebody would write it who takes it in by its id.
terraform {
  required_providers {
    openstack = { source = "terraform-provider-openstack/openstack" }
  }
}

provider "openstack" {}

variable "image" { type = string }
variable "network" { type = string }

resource "openstack_compute_instance_v2" "database" {
  name            = "database"
  flavor_name     = "m1.tiny"
  key_pair        = "alice"
  security_groups = ["shop-database"]

  block_device {
    uuid                  = var.image
    source_type           = "image"
    destination_type      = "volume"
    volume_size           = 1
    boot_index            = 0
    delete_on_termination = true
  }

  network {
    uuid        = var.network
    fixed_ip_v4 = "10.77.0.40"
  }
}
