// SPDX-License-Identifier: Apache-2.0
// With the npm package dbus-next.
const dbus = require('dbus-next');

const [address, image] = process.argv.slice(2);

async function follow(bus, manager, what, reference) {
    let path;
    try {
        [, path] = await manager.Pull(reference, {});
    } catch (error) {
        console.log(`${what}: ${error.type}`);
        return;
    }
    const object = await bus.getProxyObject('org.imaged1', path);
    const job = object.getInterface('org.imaged1.Job'), properties = object.getInterface('org.freedesktop.DBus.Properties');
    let progress = false;
    const end = new Promise(resolve => job.on('Finished', (...values) => resolve(values)));
    properties.on('PropertiesChanged', (_interface, changed) => { progress ||= 'Fraction' in changed && changed.Fraction.value > 0; });
    const get = async name => (await properties.Get('org.imaged1.Job', name)).value;
    progress ||= await get('Fraction') > 0;
    const [result, error] = await get('State') === 'finished' ? [await get('Result'), await get('ErrorName')] : await end;
    console.log(`${what}: ${result} ${error}${progress ? 'progress' : ''}`);
}

async function main() {
    const bus = dbus.sessionBus({busAddress: address});
    const manager = (await bus.getProxyObject('org.imaged1', '/org/imaged1')).getInterface('org.imaged1.Manager');
    await follow(bus, manager, 'pull', image);
    await follow(bus, manager, 'error', 'oci:/nonexistent:x');
    console.log(`list: ${(await manager.ListImages({})).length}`);
    bus.disconnect();
}

main();
