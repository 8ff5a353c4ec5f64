// SPDX-License-Identifier: Apache-2.0
const {Gio, GLib} = imports.gi;

const [xml, address, image, archive, authfile] = ARGV;
const read = name => new TextDecoder().decode(GLib.file_get_contents(`${xml}/${name}.xml`)[1]);
const Manager = Gio.DBusProxy.makeProxyWrapper(read('org.imaged1.Manager'));
const Job = Gio.DBusProxy.makeProxyWrapper(read('org.imaged1.Job'));
const bus = Gio.DBusConnection.new_for_address_sync(address,
    Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION, null, null);
const manager = Manager(bus, 'org.imaged1', '/org/imaged1');

function withFile(path) {
    const files = new Gio.UnixFDList();
    files.append(Gio.File.new_for_path(path).read(null).get_fd());
    return files;
}

function follow(what, start) {
    let path;
    try {
        path = start();
    } catch (error) {
        print(`${what}: ${Gio.DBusError.get_remote_error(error)}`);
        return;
    }
    const loop = GLib.MainLoop.new(null, false);
    const job = Job(bus, 'org.imaged1', path);
    let end = null, progress = job.Fraction > 0;
    job.connectSignal('Finished', (_job, _sender, parameters) => {
        end = parameters;
        loop.quit();
    });
    job.connect('g-properties-changed', () => {
        progress ||= job.Fraction > 0;
    });
    if (job.State !== 'finished')
        loop.run();
    end ||= [job.Result, job.ErrorName];
    print(`${what}: ${end[0]} ${end[1]}${progress ? 'progress' : ''}`);
}

follow('pull', () => manager.PullSync(image, {})[1]);
follow('error', () => manager.PullSync('oci:/nonexistent:x', {})[1]);
follow('authfile', () => manager.PullSync(image, {authfile: new GLib.Variant('h', 0)}, withFile(authfile))[0][1]);
follow('archive', () => manager.ImportArchiveSync(0, 'docker://example.org/archive:1', {}, withFile(archive))[0][1]);
print(`list: ${manager.ListImagesSync({})[0].length}`);
