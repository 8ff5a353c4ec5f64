# SPDX-License-Identifier: Apache-2.0
"""The policy of the system bus: the template, with a rule for each method of the interfaces.

    bus-policy.py TEMPLATE INTERFACE.xml…

Prints the policy. A method is let through by its name, never an interface as a whole: what is in no XML cannot be called."""
import sys
import xml.etree.ElementTree

RULE = '    <allow send_destination="org.imaged1" send_interface="{}" send_member="{}"/>'

template, *interfaces = sys.argv[1:]
rules = [RULE.format(interface.get("name"), method.get("name"))
         for path in interfaces for interface in xml.etree.ElementTree.parse(path).getroot().iter("interface") for method in interface.iter("method")]
with open(template, encoding="utf-8") as file:
    print(file.read().replace("@METHODS@", "\n".join(rules)), end="")
