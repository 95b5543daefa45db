// gophercloud as a new user has it: a server and its volume, moved to another flavor and back out of the way.
//
// Takes the cloud from OS_* in the environment. Says each thing that it has done; fails loudly.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/volumes"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/keypairs"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/volumeattach"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
)

const limit = 4 * time.Minute

func must[T any](value T, err error) T {
	done(err)
	return value
}

func done(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func check(holds bool, words string) {
	if !holds {
		done(fmt.Errorf("%s", words))
	}
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	options := must(openstack.AuthOptionsFromEnv())
	provider := must(openstack.AuthenticatedClient(ctx, options))
	region := gophercloud.EndpointOpts{Region: os.Getenv("OS_REGION_NAME")}
	compute := must(openstack.NewComputeV2(provider, region))
	compute.Microversion = "2.79"
	image := must(openstack.NewImageV2(provider, region))
	network := must(openstack.NewNetworkV2(provider, region))
	storage := must(openstack.NewBlockStorageV3(provider, region))

	bySize := must(flavors.ExtractFlavors(must(flavors.ListDetail(compute, flavors.ListOpts{}).AllPages(ctx))))
	slices.SortFunc(bySize, func(a, b flavors.Flavor) int { return a.RAM - b.RAM })
	small, large := bySize[0], bySize[1]
	listed := must(images.ExtractImages(must(images.List(image, images.ListOpts{Status: images.ImageStatusActive}).AllPages(ctx))))
	shared := must(networks.ExtractNetworks(must(networks.List(network, networks.ListOpts{Name: "shared"}).AllPages(ctx))))
	fmt.Println("image", listed[0].Name, "network", shared[0].Name, "flavors", small.Name, large.Name)

	key := must(keypairs.Create(ctx, compute, keypairs.CreateOpts{Name: "gophercloud"}).Extract())
	wish := servers.CreateOpts{
		Name: "gophercloud", ImageRef: listed[0].ID, FlavorRef: small.ID,
		Networks: []servers.Network{{UUID: shared[0].ID}},
		Metadata: map[string]string{"made": "by gophercloud"},
	}
	made := must(servers.Create(ctx, compute, keypairs.CreateOptsExt{CreateOptsBuilder: wish, KeyName: key.Name}, nil).Extract())
	done(servers.WaitForStatus(ctx, compute, made.ID, "ACTIVE"))
	before := must(servers.Get(ctx, compute, made.ID).Extract())
	cards := must(ports.ExtractPorts(must(ports.List(network, ports.ListOpts{DeviceID: made.ID}).AllPages(ctx))))
	fmt.Println("server", before.Status, "on", before.Host, "with", cards[0].FixedIPs[0].IPAddress)

	volume := must(volumes.Create(ctx, storage, volumes.CreateOpts{Size: 1, Name: "gophercloud"}, nil).Extract())
	done(volumes.WaitForStatus(ctx, storage, volume.ID, "available"))
	attachment := must(volumeattach.Create(ctx, compute, made.ID, volumeattach.CreateOpts{VolumeID: volume.ID}).Extract())
	done(volumes.WaitForStatus(ctx, storage, volume.ID, "in-use"))
	fmt.Println("volume is", attachment.Device)

	done(servers.Resize(ctx, compute, made.ID, servers.ResizeOpts{FlavorRef: large.ID}).ExtractErr())
	done(servers.WaitForStatus(ctx, compute, made.ID, "VERIFY_RESIZE"))
	done(servers.ConfirmResize(ctx, compute, made.ID).ExtractErr())
	done(servers.WaitForStatus(ctx, compute, made.ID, "ACTIVE"))
	after := must(servers.Get(ctx, compute, made.ID).Extract())
	check(after.Host != before.Host, "it has stayed where it was")
	check(after.Flavor["original_name"] == large.Name, "it has another flavor")
	fmt.Println("resized to", large.Name, "from", before.Host, "to", after.Host)

	done(volumeattach.Delete(ctx, compute, made.ID, volume.ID).ExtractErr())
	done(volumes.WaitForStatus(ctx, storage, volume.ID, "available"))
	done(servers.Delete(ctx, compute, made.ID).ExtractErr())
	done(gophercloud.WaitFor(ctx, func(ctx context.Context) (bool, error) {
		_, err := servers.Get(ctx, compute, made.ID).Extract()
		if gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
			return true, nil
		}
		return false, err
	}))
	done(volumes.Delete(ctx, storage, volume.ID, volumes.DeleteOpts{}).ExtractErr())
	done(keypairs.Delete(ctx, compute, key.Name, keypairs.DeleteOpts{}).ExtractErr())
	fmt.Println("all of it is gone")
}
