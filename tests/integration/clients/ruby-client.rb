# SPDX-License-Identifier: Apache-2.0
require "dbus"

address, image = ARGV
bus = DBus::RemoteBus.new(address) if DBus.const_defined?(:RemoteBus)
bus ||= DBus::Connection.new(address).tap(&:send_hello)
service = bus.service("org.imaged1")
manager = service.object("/org/imaged1")
manager.introspect
manager.default_iface = "org.imaged1.Manager"

follow = lambda do |what, reference|
  begin
    _, path = manager.Pull(reference, {})
  rescue DBus::Error => error
    puts "#{what}: #{error.name}"
    next
  end
  object = service.object(path)
  object.introspect
  job = object["org.imaged1.Job"]
  finish, progress = nil, false
  loop = DBus::Main.new
  loop << bus
  job.on_signal("Finished") { |result, error, *| finish = [result, error]; loop.quit }
  object["org.freedesktop.DBus.Properties"].on_signal("PropertiesChanged") { |_, changed, _| progress ||= changed.fetch("Fraction", 0) > 0 }
  progress ||= job["Fraction"] > 0
  loop.run if job["State"] != "finished" && finish.nil?
  finish ||= [job["Result"], job["ErrorName"]]
  puts "#{what}: #{finish[0]} #{finish[1]}#{progress ? 'progress' : ''}"
end

follow.call("pull", image)
follow.call("error", "oci:/nonexistent:x")
puts "list: #{manager.ListImages({}).first.size}"
