// SPDX-License-Identifier: MIT
// check-manifest.js FILE: each document against the API's schema, as the
// package kubernetes-models has it, and no field that the API does not know:
// its validators never ask for one.
const fs = require('fs');
const yaml = require('js-yaml');

const models = {
	v1: require('kubernetes-models/v1'),
	'apps/v1': require('kubernetes-models/apps/v1'),
};

// Anything may be in these.
const maps = /\/(labels|matchLabels|nodeSelector|data|limits|requests)\//;

// A copy that notes in @seen which of its fields were asked for.
function watched(value, path, seen) {
	if (value === null || typeof value !== 'object')
		return value;
	const copy = Array.isArray(value) ? [] : {};
	for (const key of Object.keys(value))
		copy[key] = watched(value[key], `${path}/${key}`, seen);
	return new Proxy(copy, {
		get(target, key) {
			seen.add(`${path}/${String(key)}`);
			return target[key];
		},
	});
}

function paths(value, path, all) {
	if (value !== null && typeof value === 'object')
		for (const key of Object.keys(value)) {
			all.push(`${path}/${key}`);
			paths(value[key], `${path}/${key}`, all);
		}
	return all;
}

let bad = 0;
for (const doc of yaml.loadAll(fs.readFileSync(process.argv[2], 'utf8'))) {
	const Model = (models[doc.apiVersion] || {})[doc.kind];
	const name = `${doc.apiVersion} ${doc.kind}`;
	if (!Model) {
		console.log(`${name}: unknown`);
		bad++;
		continue;
	}
	const seen = new Set();
	try {
		Object.setPrototypeOf(watched(doc, '', seen), Model.prototype)
			.validate();
	} catch (error) {
		console.log(`${name}: ${error.message}`);
		bad++;
	}
	for (const path of paths(doc, '', []))
		if (!seen.has(path) && !maps.test(path)) {
			console.log(`${name}: no such field: ${path}`);
			bad++;
		}
}
process.exit(bad ? 1 : 0);
