// SPDX-License-Identifier: Apache-2.0
// With github.com/godbus/dbus.
package main

import (
	"fmt"
	"os"

	"github.com/godbus/dbus/v5"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

type options = map[string]dbus.Variant

func follow(bus *dbus.Conn, what string, call *dbus.Call) {
	var id uint32
	var path dbus.ObjectPath
	if call.Err != nil {
		fmt.Printf("%s: %s\n", what, call.Err.(dbus.Error).Name)
		return
	}
	must(call.Store(&id, &path))
	signals := make(chan *dbus.Signal, 1000)
	bus.Signal(signals)
	defer bus.RemoveSignal(signals)
	must(bus.AddMatchSignal(dbus.WithMatchObjectPath(path)))
	job := bus.Object("org.imaged1", path)
	get := func(name string) interface{} {
		value, err := job.GetProperty("org.imaged1.Job." + name)
		must(err)
		return value.Value()
	}
	progress := get("Fraction").(float64) > 0
	result, name := get("Result").(string), get("ErrorName").(string)
	for finished := get("State") == "finished"; !finished; {
		signal := <-signals
		switch signal.Name {
		case "org.imaged1.Job.Finished":
			result, name, finished = signal.Body[0].(string), signal.Body[1].(string), true
		case "org.freedesktop.DBus.Properties.PropertiesChanged":
			if fraction, there := signal.Body[1].(options)["Fraction"]; there {
				progress = progress || fraction.Value().(float64) > 0
			}
		}
	}
	if result == "" {
		result, name = get("Result").(string), get("ErrorName").(string)
	}
	if progress {
		name += "progress"
	}
	fmt.Printf("%s: %s %s\n", what, result, name)
}

func main() {
	address, image, archive, authfile := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	bus, err := dbus.Connect(address)
	must(err)
	manager := bus.Object("org.imaged1", "/org/imaged1")
	pull := func(image string, options options) *dbus.Call {
		return manager.Call("org.imaged1.Manager.Pull", 0, image, options)
	}
	open := func(path string) dbus.UnixFD {
		file, err := os.Open(path)
		must(err)
		return dbus.UnixFD(file.Fd())
	}
	follow(bus, "pull", pull(image, options{}))
	follow(bus, "error", pull("oci:/nonexistent:x", options{}))
	follow(bus, "authfile", pull(image, options{"authfile": dbus.MakeVariant(open(authfile))}))
	follow(bus, "archive", manager.Call("org.imaged1.Manager.ImportArchive", 0, open(archive), "docker://example.org/archive:1", options{}))
	var images []options
	must(manager.Call("org.imaged1.Manager.ListImages", 0, options{}).Store(&images))
	fmt.Printf("list: %d\n", len(images))
}
