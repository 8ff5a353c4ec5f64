# SPDX-License-Identifier: Apache-2.0
use strict;
use warnings;
use Net::DBus qw(:typing);
use Net::DBus::Reactor;

my ($address, $image) = @ARGV;
my $service = Net::DBus->new($address)->get_service("org.imaged1");
my $manager = $service->get_object("/org/imaged1", "org.imaged1.Manager");

sub follow {
    my ($what, $reference) = @_;
    my ($id, $path) = eval { $manager->Pull($reference, {}) };
    if ($@) {
        print "$what: ", $@->name, "\n";
        return;
    }
    my $reactor = Net::DBus::Reactor->main;
    my $job = $service->get_object($path, "org.imaged1.Job");
    my ($end, $progress) = (undef, 0);
    $job->connect_to_signal("Finished", sub { $end = [@_]; $reactor->shutdown });
    my $properties = $service->get_object($path, "org.freedesktop.DBus.Properties");
    $properties->connect_to_signal("PropertiesChanged", sub { $progress ||= ($_[1]{Fraction} // 0) > 0 });
    $progress = $properties->Get("org.imaged1.Job", "Fraction") > 0;
    $reactor->run if $properties->Get("org.imaged1.Job", "State") ne "finished" && !$end;
    $end ||= [map { $properties->Get("org.imaged1.Job", $_) } qw(Result ErrorName)];
    print "$what: $end->[0] $end->[1]", $progress ? "progress" : "", "\n";
}

follow("pull", $image);
follow("error", "oci:/nonexistent:x");
print "list: ", scalar @{$manager->ListImages({})}, "\n";
