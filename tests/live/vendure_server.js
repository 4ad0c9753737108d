// An empty Vendure on loopback, in memory: `node vendure_server.js <node_modules> <port>`; the superadmin's password on stdin.
const fs = require('node:fs');
const { createRequire } = require('node:module');

const [modules, port] = process.argv.slice(2);
const { bootstrap, DefaultLogger, dummyPaymentHandler, LogLevel } = createRequire(`${modules}/`)('@vendure/core');

bootstrap({
    apiOptions: { hostname: '127.0.0.1', port: Number(port), adminApiPath: 'admin-api', shopApiPath: 'shop-api' },
    authOptions: {
        tokenMethod: ['bearer'],
        superadminCredentials: { identifier: 'superadmin', password: fs.readFileSync(0, 'utf8') },
    },
    dbConnectionOptions: { type: 'sqljs', synchronize: true, logging: false },
    paymentOptions: { paymentMethodHandlers: [dummyPaymentHandler] },
    logger: new DefaultLogger({ level: LogLevel.Error }),
}).catch((error) => {
    console.error(error);
    process.exit(1);
});
