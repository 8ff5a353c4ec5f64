# SPDX-License-Identifier: Apache-2.0
from jeepney import DBusAddress, HeaderFields, MatchRule, Properties, message_bus, new_method_call
from jeepney.io.blocking import open_dbus_connection

import flow


class Stack:
    def __init__(self, address):
        self.bus = open_dbus_connection(address, enable_fds=True)

    def call(self, message):
        answer = self.bus.send_and_get_reply(message)
        if HeaderFields.error_name in answer.header.fields:
            raise flow.CallFailed(answer.header.fields[HeaderFields.error_name])
        return answer.body

    def manager(self, method, signature, *arguments):
        return self.call(new_method_call(DBusAddress("/org/imaged1", "org.imaged1", "org.imaged1.Manager"), method, signature, arguments))

    def pull(self, image, authfile):
        return self.manager("Pull", "sa{sv}", image, {"authfile": ("h", authfile)} if authfile else {})[1]

    def archive(self, file, image):
        return self.manager("ImportArchive", "hsa{sv}", file, image, {})[1]

    def follow(self, path):
        properties = Properties(DBusAddress(path, "org.imaged1", "org.imaged1.Job"))
        rules = [MatchRule(type="signal", interface="org.imaged1.Job", member="Finished", path=path),
                 MatchRule(type="signal", interface="org.freedesktop.DBus.Properties", path=path)]
        for rule in rules:
            self.call(message_bus.AddMatch(rule))
        with self.bus.filter(rules[0]) as finished, self.bus.filter(rules[1], bufsize=10000) as changed:
            values = {name: value for name, (_, value) in self.call(properties.get_all())[0].items()}
            end = values["Result"], values["ErrorName"]
            if values["State"] != "finished":
                end = self.bus.recv_until_filtered(finished).body[:2]
            return *end, values["Fraction"] > 0 or any(message.body[1].get("Fraction", ("d", 0))[1] > 0 for message in changed)

    def images(self):
        return len(self.manager("ListImages", "a{sv}", {})[0])


flow.run(Stack)
