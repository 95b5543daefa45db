// What the other walks need to know of a deployment: two flavors, an image, a network. Found, not made.
import { asking } from '../exchange.ts';

const compute = asking('compute');
const image = asking('image');
const network = asking('network');

export const setting = [
  compute('GET', '/flavors?sort_key=flavorid', { keep: { flavor: 'flavors.0.id', larger: 'flavors.1.id' } }),
  image('GET', '/images?visibility=public&status=active&limit=1', { keep: { image: 'images.0.id' } }),
  network('GET', '/networks?name=shared', { keep: { network: 'networks.0.id' } }),
];
