# A web shop as a tenant has it: a network of its own behind a router, security groups, a web server on a port that is
# named, with a volume and a floating IP, and a database that boots from a volume.
terraform {
  required_providers {
    openstack = { source = "terraform-provider-openstack/openstack" }
  }
}

provider "openstack" {}

variable "name" {
  type    = string
  default = "web"
}

variable "flavor" {
  type    = string
  default = "m1.tiny"
}

variable "image" {
  type    = string
  default = "cirros"
}

variable "metadata" {
  type    = map(string)
  default = { stage = "test", owner = "alice" }
}

variable "tags" {
  type    = list(string)
  default = ["front", "shop"]
}

variable "volumes" {
  description = "GiB of each volume of the web server"
  type        = map(number)
  default     = { data = 1 }
}

variable "web_ports" {
  type    = list(number)
  default = [80, 443]
}

variable "power_state" {
  type    = string
  default = "active"
}

variable "image_file" { type = string }
variable "public_key" { type = string }

data "openstack_images_image_v2" "system" {
  name        = var.image
  most_recent = true
}

data "openstack_compute_flavor_v2" "web" {
  name = var.flavor
}

data "openstack_compute_flavor_v2" "database" {
  name = "m1.tiny"
}

data "openstack_networking_network_v2" "outside" {
  name     = "public"
  external = true
}

data "openstack_compute_availability_zones_v2" "zones" {}

# --- network

resource "openstack_networking_network_v2" "shop" {
  name           = "shop"
  description    = "The shop's own"
  admin_state_up = true
  tags           = ["shop"]
}

resource "openstack_networking_subnet_v2" "shop" {
  name            = "shop"
  network_id      = openstack_networking_network_v2.shop.id
  cidr            = "10.77.0.0/24"
  ip_version      = 4
  dns_nameservers = ["192.0.2.53", "192.0.2.54"]

  allocation_pool {
    start = "10.77.0.20"
    end   = "10.77.0.200"
  }
}

resource "openstack_networking_subnet_route_v2" "office" {
  subnet_id        = openstack_networking_subnet_v2.shop.id
  destination_cidr = "198.51.100.0/24"
  next_hop         = "10.77.0.5"
}

resource "openstack_networking_router_v2" "shop" {
  name                = "shop"
  external_network_id = data.openstack_networking_network_v2.outside.id
}

resource "openstack_networking_router_interface_v2" "shop" {
  router_id = openstack_networking_router_v2.shop.id
  subnet_id = openstack_networking_subnet_v2.shop.id
}

# --- who may come in

resource "openstack_networking_secgroup_v2" "web" {
  name        = "shop-web"
  description = "The web from everywhere, SSH from inside"
}

resource "openstack_networking_secgroup_rule_v2" "web" {
  for_each          = toset([for port in var.web_ports : tostring(port)])
  security_group_id = openstack_networking_secgroup_v2.web.id
  direction         = "ingress"
  ethertype         = "IPv4"
  protocol          = "tcp"
  port_range_min    = each.value
  port_range_max    = each.value
  remote_ip_prefix  = "0.0.0.0/0"
}

resource "openstack_networking_secgroup_rule_v2" "ping" {
  security_group_id = openstack_networking_secgroup_v2.web.id
  direction         = "ingress"
  ethertype         = "IPv4"
  protocol          = "icmp"
}

resource "openstack_networking_secgroup_v2" "database" {
  name                 = "shop-database"
  delete_default_rules = true
}

resource "openstack_networking_secgroup_rule_v2" "database" {
  security_group_id = openstack_networking_secgroup_v2.database.id
  description       = "The web servers alone"
  direction         = "ingress"
  ethertype         = "IPv4"
  protocol          = "tcp"
  port_range_min    = 5432
  port_range_max    = 5432
  remote_group_id   = openstack_networking_secgroup_v2.web.id
}

# --- the web server

resource "openstack_compute_keypair_v2" "alice" {
  name       = "alice"
  public_key = var.public_key
}

resource "openstack_compute_servergroup_v2" "shop" {
  name     = "shop"
  policies = ["soft-anti-affinity"]
}

resource "openstack_networking_port_v2" "web" {
  name               = "web"
  network_id         = openstack_networking_network_v2.shop.id
  security_group_ids = [openstack_networking_secgroup_v2.web.id]
  tags               = ["shop"]

  fixed_ip {
    subnet_id  = openstack_networking_subnet_v2.shop.id
    ip_address = "10.77.0.30"
  }

  allowed_address_pairs {
    ip_address = "10.77.0.31"
  }
}

resource "openstack_compute_instance_v2" "web" {
  name         = var.name
  image_id     = data.openstack_images_image_v2.system.id
  flavor_id    = data.openstack_compute_flavor_v2.web.id
  key_pair     = openstack_compute_keypair_v2.alice.name
  user_data    = "#!/bin/sh\necho hello\n"
  config_drive = true
  metadata     = var.metadata
  tags         = var.tags
  power_state  = var.power_state

  network {
    port = openstack_networking_port_v2.web.id
  }

  scheduler_hints {
    group = openstack_compute_servergroup_v2.shop.id
  }
}

resource "openstack_blockstorage_volume_v3" "web" {
  for_each             = var.volumes
  name                 = "web-${each.key}"
  description          = "The web server's ${each.key}"
  size                 = each.value
  enable_online_resize = true
  metadata             = { use = each.key }
}

resource "openstack_compute_volume_attach_v2" "web" {
  for_each    = var.volumes
  instance_id = openstack_compute_instance_v2.web.id
  volume_id   = openstack_blockstorage_volume_v3.web[each.key].id
}

resource "openstack_networking_floatingip_v2" "web" {
  pool        = data.openstack_networking_network_v2.outside.name
  description = "www"
}

resource "openstack_networking_floatingip_associate_v2" "web" {
  floating_ip = openstack_networking_floatingip_v2.web.address
  port_id     = openstack_networking_port_v2.web.id
  depends_on  = [openstack_networking_router_interface_v2.shop]
}

# --- the database, on a volume that goes with it, made from an image of the tenant's own

resource "openstack_images_image_v2" "database" {
  name             = "shop-database"
  local_file_path  = var.image_file
  container_format = "bare"
  disk_format      = "raw"
  visibility       = "private"
  min_disk_gb      = 1
  tags             = ["shop"]

  properties = {
    os_distro = "debian"
  }
}

resource "openstack_compute_instance_v2" "database" {
  name              = "database"
  flavor_name       = data.openstack_compute_flavor_v2.database.name
  key_pair          = openstack_compute_keypair_v2.alice.name
  security_groups   = [openstack_networking_secgroup_v2.database.name]
  availability_zone = data.openstack_compute_availability_zones_v2.zones.names[0]

  block_device {
    uuid                  = openstack_images_image_v2.database.id
    source_type           = "image"
    destination_type      = "volume"
    volume_size           = 1
    boot_index            = 0
    delete_on_termination = true
  }

  network {
    uuid        = openstack_networking_network_v2.shop.id
    fixed_ip_v4 = "10.77.0.40"
  }

  depends_on = [openstack_networking_subnet_v2.shop]
}

# --- an archive in two networks, on a volume that outlives it

resource "openstack_blockstorage_volume_v3" "archive" {
  name     = "archive"
  size     = 1
  image_id = openstack_images_image_v2.database.id
}

resource "openstack_compute_instance_v2" "archive" {
  name            = "archive"
  flavor_name     = data.openstack_compute_flavor_v2.database.name
  security_groups = ["default"]

  block_device {
    uuid                  = openstack_blockstorage_volume_v3.archive.id
    source_type           = "volume"
    destination_type      = "volume"
    boot_index            = 0
    delete_on_termination = false
  }

  network {
    name = openstack_networking_network_v2.shop.name
  }

  depends_on = [openstack_networking_subnet_v2.shop]
}

resource "openstack_networking_network_v2" "backup" {
  name = "backup"
}

resource "openstack_networking_subnet_v2" "backup" {
  name       = "backup"
  network_id = openstack_networking_network_v2.backup.id
  cidr       = "10.78.0.0/24"
  no_gateway = true
}

resource "openstack_compute_interface_attach_v2" "backup" {
  instance_id = openstack_compute_instance_v2.archive.id
  network_id  = openstack_networking_network_v2.backup.id
  depends_on  = [openstack_networking_subnet_v2.backup]
}

resource "openstack_identity_application_credential_v3" "backup" {
  name  = "backup"
  roles = ["member"]
}

output "address" {
  value = openstack_networking_floatingip_v2.web.address
}

output "server" {
  value = openstack_compute_instance_v2.web.id
}

output "database" {
  value = openstack_compute_instance_v2.database.id
}

output "image" {
  value = openstack_images_image_v2.database.id
}

output "network" {
  value = openstack_networking_network_v2.shop.id
}
