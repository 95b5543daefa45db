module crosscell.test/sdks/gophercloud

go 1.22

require github.com/gophercloud/gophercloud/v2 v2.9.0
