export { type ContractCase, type RemoteTierFixture, remoteTierContract } from './remote-tier-contract.ts';
